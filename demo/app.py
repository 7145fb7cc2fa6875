"""Serves the page: `python demo/app.py`, then open http://127.0.0.1:8889."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from nnclip.cli import configure_logging

    configure_logging()  # before NNabla is imported, which else takes the root logger over
    from nnclip.page.app import main

    sys.exit(main())
