""".h5 -> torch checkpoint: `python convert/h5_to_torch.py model.h5 FOLDER --dialect openai`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from nnclip.cli import configure_logging

    configure_logging()  # before NNabla is imported, which else takes the root logger over
    from nnclip.convert.h5_to_torch import main

    sys.exit(main())
