"""Torch checkpoint -> .h5: `python convert/torch_to_h5.py SOURCE model.h5 --verify`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from nnclip.cli import configure_logging

    configure_logging()  # before NNabla is imported, which else takes the root logger over
    from nnclip.convert.torch_to_h5 import main

    sys.exit(main())
