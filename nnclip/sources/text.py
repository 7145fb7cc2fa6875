"""Text files as people have them: in UTF-8 or UTF-16, with a mark or none, compressed or not."""

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO, Any, TextIO

from nnclip.errors import DataError
from nnclip.files import open_regular, shown

LONGEST = 1 << 22  # characters of a line: more is no text of lines
START = 64  # bytes that tell an encoding

# the marks of UTF-32 begin like those of UTF-16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
PACKED = {
    ".gz": (b"\x1f\x8b", gzip.open),
    ".bz2": (b"BZh", bz2.open),
    ".xz": (b"\xfd7zXZ", lzma.open),
}
_CUT = (OSError, EOFError, zlib.error, lzma.LZMAError)


class _Lines(io.TextIOWrapper):
    """Text whose lines have an end: a file of zeros is one line as long as the file."""

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        line = super().readline(LONGEST)
        if len(line) == LONGEST:
            raise ValueError(f"found a line of more than {LONGEST:,} characters")
        return line

    def __next__(self) -> str:  # type: ignore[override]
        if line := self.readline():
            return line
        raise StopIteration


def encoding_of(start: bytes) -> str:
    """The encoding of a text by its first bytes: by its mark, UTF-16 of ASCII, or UTF-8."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    even, odd = start[:START:2], start[1:START:2]
    if len(start) >= 4 and all(even) and not any(odd):
        return "utf-16-le"
    if len(start) >= 4 and all(odd) and not any(even):
        return "utf-16-be"
    return "utf-8"


def decode(content: bytes) -> str:
    """A whole text; UnicodeDecodeError if it is none."""
    return content.decode(encoding_of(content))


def plain_suffix(path: str | PurePath) -> str:
    """The suffix of a file, in lower case, without that of its compression."""
    path = PurePath(path)
    return (path.with_suffix("") if path.suffix.lower() in PACKED else path).suffix.lower()


@contextmanager
def open_text(path: Path, what: str = "text") -> Iterator[TextIO]:
    r"""A text's lines, each of which ends in \n.

    Args:
        path: of the file; compressed ones are told by their first bytes.
        what: it should be, for messages.

    Raises:
        DataError: it is no regular file, cannot be read, or is no text of lines.
    """
    try:
        with open_regular(path) as file, _unpacked(file) as content:
            encoding = encoding_of(content.read(START))
            content.seek(0)
            with _Lines(content, encoding=encoding) as text:
                yield text
    except DataError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"{shown(path)}: {_undecoded(path, error)}") from error
    except (*_CUT, ValueError) as error:
        raise DataError(f"{shown(path)}: cannot be read as {what} ({error})") from error


@contextmanager
def _unpacked(file: IO[bytes]) -> Iterator[Any]:
    start = file.read(START)
    file.seek(0)
    for mark, unpack in PACKED.values():
        if start.startswith(mark):
            with unpack(file) as content:  # type: ignore[operator]
                yield content
            return
    yield file


def _undecoded(path: Path, error: UnicodeDecodeError) -> str:
    """Where a text stops being one, and what to do."""
    if error.encoding != "utf-8":
        return f"found bytes that are no {error.encoding.upper()} ({error.reason})"
    row = 1
    with open_regular(path) as file, _unpacked(file) as content:
        while _is_utf8(content.readline(LONGEST)):
            row += 1
    return (
        f"row {row} is no UTF-8; expected UTF-8 or UTF-16: if it is of Windows, "
        f"iconv -f WINDOWS-1252 -t UTF-8 {shown(path)} > utf8{shown(path.suffix)}"
    )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
