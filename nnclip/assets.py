"""Where the files that come with nnclip lie: the vocabulary, the bundled model, images.

An installed nnclip has them inside the package, a checkout beside it.
"""

import os
from pathlib import Path

from nnclip.errors import DataError

ASSETS_VARIABLE = "NNCLIP_ASSETS"


def assets_dir() -> Path:
    """The folder of bundled files: `$NNCLIP_ASSETS`, that of the package, or the checkout's."""
    if folder := os.environ.get(ASSETS_VARIABLE):
        return Path(folder)
    package = Path(__file__).resolve().parent
    installed = package / "_assets"
    return installed if installed.is_dir() else package.parent / "assets"


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
            f"{path}: found no such file, expected the bundled {name}; install nnclip again, "
            f"or set {ASSETS_VARIABLE} to the assets folder of a checkout"
        )
    return path
