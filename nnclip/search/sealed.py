"""Small JSON files that carry their own checksum."""

import json
from pathlib import Path
from typing import Any

from nnclip.checksums import checksum
from nnclip.errors import DataError
from nnclip.search.writing import first_line, write_text


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object with its checksum, whole or not at all; DataError if it cannot be."""
    text = json.dumps({**content, "checksum": _checksum_of(content)}, indent=1)
    write_text(path, text + "\n")


def read_sealed(path: Path, remedy: str, unsealed: str = "") -> dict[str, Any]:
    """A JSON object whose checksum is right, without it.

    Args:
        path: The file.
        remedy: What to do if it is damaged, for the error.
        unsealed: A key by which an object of the first version, which has no checksum, is told: it
            lacks the key, or has 1 there.

    Raises:
        DataError: The file is damaged.
        FileNotFoundError: There is none.
    """
    try:
        content = json.loads(path.read_bytes())
        found = content.pop("checksum", None)
        earlier = unsealed and found is None and content.get(unsealed, 1) == 1
        whole = earlier or found == _checksum_of(content)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: is damaged ({first_line(error)}); {remedy}") from error
    if not whole:
        raise DataError(f"{path}: is damaged, its checksum is another; {remedy}")
    return dict(content)


def _checksum_of(content: dict[str, Any]) -> str:
    return checksum(json.dumps(content, sort_keys=True).encode())
