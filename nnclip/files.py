r"""Files that others named: only regular ones are opened, and every name can be kept and printed.

A FIFO blocks whoever opens it, a device never ends: neither is opened.

| | what it is | `b"caf\xe9\n.jpg"` |
|---|---|---|
| path | what the system opens; a byte that is no UTF-8 is a lone surrogate | `caf\udce9\n.jpg` |
| name | what records, JSON and tables keep: UTF-8; `to_path` turns it back | `caf\xe9\n.jpg` |
| shown | what people see: control characters are escaped, too | `caf\xe9\x0a.jpg` |

There is one escape: `\xHH`, a byte in two lower-case hexadecimal digits. A path that holds such
letters itself has `\x5c` for their backslash in its name.
"""

import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import BinaryIO

from nnclip.errors import DataError

TEXT_BYTES = 64 << 20  # of a text file: a million captions take as much

# a FIFO answers at once, a terminal does not become ours; Windows reads bytes as they are
_FLAGS = os.O_RDONLY
for _name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")
# Cc and Cs: control characters and bytes that are no UTF-8; Zl and Zp: ends of lines
_HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def open_regular(path: str | Path, flags: int = 0) -> BinaryIO:
    """Open a regular file for reading; links are followed.

    Args:
        path: where it is.
        flags: of `os.open`, besides those that are always set.

    Raises:
        DataError: it is a folder, a FIFO, a socket or a device.
        OSError: there is none, or it cannot be opened.
        ValueError: the path holds a zero byte.
    """
    _check(os.stat(path), path)  # a socket cannot be opened, and opening a device may do something
    descriptor = os.open(path, _FLAGS | flags)
    try:
        _check(os.fstat(descriptor), path)  # another file may be there by now
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(
    path: str | Path, most: int, offset: int = 0, size: int = -1
) -> tuple[bytes, os.stat_result]:
    """Read a regular file, or `size` bytes of it from `offset` on; and its status.

    Args:
        path: where it is.
        most: bytes that are read.
        offset: where to begin.
        size: how many bytes; -1 for all.

    Raises:
        DataError: it is no regular file, or there are more bytes than `most`.
        OSError: it cannot be read.
        ValueError: the path holds a zero byte.
    """
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        left = max(status.st_size - offset, 0)
        wanted = left if size < 0 else size
        if wanted > most:
            found, expected = (f"{number / 2**20:,.0f} MB" for number in (wanted, most))
            raise DataError(f"{shown(path)}: found {found}, expected at most {expected}")
        file.seek(offset)
        # no more than is there: `read` takes the memory that it is asked for
        return file.read(min(wanted, left)), status


def read_text(path: str | Path, most: int = TEXT_BYTES) -> str:
    """What a text file says, in UTF-8, with or without a mark of its byte order.

    Raises:
        DataError: it is no regular file, or longer than `most` bytes.
        OSError: it cannot be read.
        UnicodeDecodeError: it is no UTF-8.
    """
    return read_regular(path, most)[0].decode("utf-8-sig")


def to_name(path: str | Path) -> str:
    """The name of a path: text that UTF-8 can hold."""
    content = _ESCAPE.sub(rb"\\x5cx\1", _bytes(str(path)))
    return content.decode("utf-8", "backslashreplace")


def to_path(name: str) -> str:
    """The path that has this name."""
    content = _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), _bytes(name))
    return content.decode("utf-8", "surrogateescape")


def shown(name: str | Path) -> str:
    """A path, a name or a whole sentence as one line that is safe to print."""
    text = str(name)
    if text.isprintable():
        return text
    return "".join(_hex(c) if _hides(c) else c for c in text)


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that no file name gives
        return text.encode("utf-8", "surrogatepass")


def _hides(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN or character in _TURNING


def _hex(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in _bytes(character))


def _check(status: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        found = _KINDS.get(stat.S_IFMT(status.st_mode), "a special file")
        raise DataError(f"{shown(path)}: found {found}, expected a regular file")
