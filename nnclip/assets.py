"""Where the files that come with nnclip lie: the vocabulary, the bundled model, pictures."""

import os
from pathlib import Path

from nnclip.errors import DataError

ASSETS_VARIABLE = "NNCLIP_ASSETS"


def assets_dir() -> Path:
    """The folder of bundled files: `$NNCLIP_ASSETS`, or `assets/` beside the package."""
    folder = os.environ.get(ASSETS_VARIABLE)
    return Path(folder) if folder else Path(__file__).resolve().parents[1] / "assets"


def asset(name: str) -> Path:
    """The path of one bundled file.

    Args:
        name: path relative to the assets folder, such as `"bpe_simple_vocab_16e6.txt.gz"`.

    Raises:
        DataError: there is no such file.
    """
    path = assets_dir() / name
    if not path.is_file():
        raise DataError(
            f"the bundled file {name} is not at {path}: run from a checkout of nnclip, "
            f"or set {ASSETS_VARIABLE} to its assets folder"
        )
    return path
