"""Checksums: of files, and of small JSON files that carry their own.

They are CRC-32: it finds every changed run of up to 32 bits, misses one of four thousand million
other changes, and reads 2.8 GB a second. It guards against damage, not against forgery.
"""

import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nnclip.errors import DataError
from nnclip.search.writing import first_line, write_text

PART = 1 << 24  # bytes of a file that one thread takes


def checksum(content: bytes | memoryview) -> str:
    """Eight hexadecimal digits."""
    return f"{zlib.crc32(content):08x}"


def file_checksum(path: Path) -> str:
    """The checksum of the checksums of a file's parts, by two threads.

    Raises:
        OSError: The file cannot be read.
    """
    size = path.stat().st_size

    def part(start: int) -> str:
        with open(path, "rb") as file:
            file.seek(start)
            return checksum(file.read(PART))

    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(part, range(0, size, PART)))
    return checksum(f"{size} {' '.join(parts)}".encode())


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
