"""Files that appear whole or not at all."""

from collections.abc import Callable
from pathlib import Path

from nnclip.errors import DataError
from nnclip.weights.h5 import write_whole


def write_file(path: Path, fill: Callable[[str], object]) -> None:
    """Let `fill` write a file beside `path` and put it in place once it is on disk.

    Raises:
        DataError: no room, no permission, or a file where a folder is needed.
    """

    def filled(temporary: str) -> None:
        fill(temporary)

    try:
        write_whole(path, filled)
    except (OSError, RuntimeError) as error:  # the latter from FAISS
        raise DataError(f"{path}: cannot be written ({error})") from error


def first_line(error: BaseException) -> str:
    """What an error of another library says, short enough for a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8; DataError as above."""
    write_file(path, lambda temporary: Path(temporary).write_text(text, encoding="utf-8"))
