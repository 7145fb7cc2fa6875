"""What was added and removed since a collection was embedded: a file that only grows.

An entry is a header of fixed length, some JSON and some vectors. The header holds a checksum of
itself, with where the entry lies in the file, and one of the rest. An entry counts once the file is
on disk (fsync), and only then is it acknowledged: a small file beside the log says up to where.

What a crash leaves behind the last whole entry is a torn tail: readers stop there, and the next
writer cuts it off. Anything else that is no entry is damage: it is told, and nothing is cut off.
Where the small file is missing (collections of format 1), a tail is torn if it is short or if pages
of it never arrived, which are zeros; and never if a whole entry follows.

Axes: N rows, E embedding.
"""

import json
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from nnclip.checksums import checksum
from nnclip.errors import DataError

logger = logging.getLogger(__name__)

FILE = "log"
ACKNOWLEDGED = "acknowledged"
SECTOR = 512  # bytes that a disk writes at once
SCANNED = 1 << 20  # bytes that are looked through at once
ZEROS = 32  # at the end of a file: more than JSON or vectors end in
_BINARY = getattr(os, "O_BINARY", 0)  # of Windows, which else changes the ends of lines
_MAGIC = b"NnC2"
_HEADER = struct.Struct("<4sIQQI")  # magic, bytes of JSON and of vectors, place, checksum of these
_SUM = struct.Struct("<I")  # the header's own checksum, after it
_MAGIC_1 = b"NnC1"  # of format 1
_HEADER_1 = struct.Struct("<4sIQI")  # magic, bytes of JSON and of vectors, checksum of these


@dataclass(frozen=True)
class Entry:
    """A change, which happens as a whole.

    Attributes:
        records: what is added, one a row of `vectors`.
        vectors: (N, E), of the collection's dtype.
        removed: rows that go, counted from the collection's first.
        sources: that the collection follows from now on; None for the same as before.
        banned: names of images that `update` must not bring back.
        first: number of the first row that is added; None in entries of format 1.
        roots: where the roots are from now on; None for where they were.
        exclude: patterns that hold from now on; None for the same as before.
    """

    records: Sequence[dict[str, Any]] = ()
    vectors: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float16))
    removed: Sequence[int] = ()
    sources: Sequence[str] | None = None
    banned: Sequence[str] = ()
    first: int | None = None
    roots: Mapping[str, str] | None = None
    exclude: Sequence[str] | None = None


@dataclass(frozen=True)
class _Head:
    """Where an entry lies: its JSON from `text` on, its vectors from `vectors` to `end`."""

    text: int
    vectors: int
    end: int
    checksum: int
    place: int | None  # where it was written; None in format 1


class Log:
    """Entries in a file.

    Attributes:
        path: it; need not exist yet.
        end: up to where it was read.
    """

    def __init__(self, path: Path, embed: int, dtype: str) -> None:
        self.path, self.end = path, 0
        self._embed, self._dtype = embed, np.dtype(dtype)

    def read(self) -> Iterator[Entry]:
        """The entries that were not read yet; DataError where the file is damaged."""
        if self.end and _size(self.path) == self.end:
            return
        acknowledged = read_acknowledged(self.path.parent)  # before the size: both only grow
        size = _size(self.path)
        if size > self.end:
            with open(self.path, "rb") as file:
                while (found := self._entry(file, self.end, size)) is not None:
                    entry, self.end = found
                    yield entry
                self._explain_rest(file, size, acknowledged)
        if self.end < (acknowledged or 0):
            raise self._damage(size, f"{acknowledged:,} were acknowledged")
        if size < self.end:
            raise self._damage(size, "it was replaced or cut while it was read")

    def _entry(self, file: IO[bytes], at: int, size: int) -> tuple[Entry, int] | None:
        """The whole entry that begins at a place, and where it ends; None where there is none."""
        head = _head(file, at)
        return (
            None if head is None or head.place not in (None, at) else self._body(file, head, size)
        )

    def _body(self, file: IO[bytes], head: _Head, size: int) -> tuple[Entry, int] | None:
        if head.end > size:
            return None
        content = _bytes(file, head.text, head.end)
        if zlib.crc32(content) != head.checksum:
            return None
        text = head.vectors - head.text
        try:
            rows_NE = np.frombuffer(content, self._dtype, offset=text).reshape(-1, self._embed)
            entry = Entry(vectors=rows_NE, **json.loads(content[:text]))
        except (ValueError, TypeError, RecursionError):
            return None
        return (entry, head.end) if len(entry.records) == len(rows_NE) else None

    def whole_entries(self) -> Iterator[tuple[Entry, bool]]:
        """All entries that are whole, also behind damage, and whether each adjoins the last one."""
        size, at = _size(self.path), 0
        if not size:
            return
        with open(self.path, "rb") as file:
            while (found := self._next_entry(file, at, size)) is not None:
                entry, start, end = found
                yield entry, start == at
                at = end

    def summary(self) -> tuple[Mapping[str, str] | None, bool]:
        """Where the last whole entry says that the roots are, and whether rows are counted.

        A file without a whole entry may have counted them.
        """
        roots, entries, counts = None, 0, False
        for entry, _ in self.whole_entries():
            roots = roots if entry.roots is None else entry.roots
            entries, counts = entries + 1, counts or bool(entry.records or entry.removed)
        return roots, counts or (self.path.exists() and not entries)

    def _next_entry(self, file: IO[bytes], at: int, size: int) -> tuple[Entry, int, int] | None:
        """The first whole entry from a place on, whatever place it names; its start and end."""
        while (at := _find(file, _MAGIC[:3], at)) >= 0:
            head = _head(file, at)
            found = None if head is None else self._body(file, head, size)
            if found is not None:
                return found[0], at, found[1]
            at += 1
        return None

    def _explain_rest(self, file: IO[bytes], size: int, acknowledged: int | None) -> None:
        """DataError unless nothing, or a torn tail, follows what was read."""
        if self.end == size:
            return
        if self._next_entry(file, self.end, size) is not None:
            raise self._damage(size, "whole entries follow")
        if acknowledged is None and not _torn(file, self.end, size):
            raise self._damage(size, "no crash leaves that")

    def _damage(self, size: int, why: str) -> DataError:
        return DataError(
            f"{self.path}: found damage after {self.end:,} of {size:,} bytes ({why}), expected an "
            f"entry: restore the file from a copy, or run `nnclip repair "
            f"{self.path.parent}`, which keeps all entries that are whole"
        )

    def append(self, entry: Entry) -> None:
        """Add an entry, on disk when this returns; the caller holds the lock and has read all.

        Raises:
            DataError: the disk is full, or the file cannot be written.
        """
        content: dict[str, Any] = {
            "records": list(entry.records),
            "removed": [int(row) for row in entry.removed],
            "sources": None if entry.sources is None else list(entry.sources),
            "banned": list(entry.banned),
            "first": entry.first,
        }
        later = {"roots": entry.roots, "exclude": entry.exclude}  # unknown to earlier versions
        content |= {name: value for name, value in later.items() if value is not None}
        text = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
        vectors = np.ascontiguousarray(entry.vectors, self._dtype).tobytes()
        body = zlib.crc32(vectors, zlib.crc32(text))
        head = _HEADER.pack(_MAGIC, len(text), len(vectors), self.end, body)
        new = not self.path.exists()
        try:
            with open(self.path, "ab") as file:
                file.truncate(self.end)  # what a crash has left
                file.write(head + _SUM.pack(zlib.crc32(head)) + text + vectors)
                file.flush()
                os.fsync(file.fileno())
                self.end = file.tell()
            if new:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot be written ({error}); nothing was changed"
            ) from error

    def acknowledge(self) -> None:
        """Say that all entries up to here are on disk: from now on, none of them may be missing."""
        try:
            write_acknowledged(self.path.parent, self.end)
        except OSError as error:  # the entries count all the same
            logger.warning("%s: cannot be written (%s)", self.path.parent / ACKNOWLEDGED, error)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _bytes(file: IO[bytes], start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)


def _find(file: IO[bytes], wanted: bytes, at: int) -> int:
    """Where some bytes come next, from a place on; -1 if they do not."""
    while chunk := _bytes(file, at, at + SCANNED):
        if (found := chunk.find(wanted)) >= 0:
            return at + found
        at += max(1, len(chunk) - len(wanted) + 1)
    return -1


def _head(file: IO[bytes], at: int) -> _Head | None:
    """The header at a place; None where there is none, or a damaged one."""
    found = _bytes(file, at, at + _HEADER.size + _SUM.size)
    if found.startswith(_MAGIC) and len(found) == _HEADER.size + _SUM.size:
        _, text, vectors, place, body = _HEADER.unpack(found[: _HEADER.size])
        if _SUM.unpack(found[_HEADER.size :])[0] != zlib.crc32(found[: _HEADER.size]):
            return None
        at += len(found)
        return _Head(at, at + text, at + text + vectors, body, place)
    if found.startswith(_MAGIC_1) and len(found) >= _HEADER_1.size:
        _, text, vectors, body = _HEADER_1.unpack(found[: _HEADER_1.size])
        at += _HEADER_1.size
        return _Head(at, at + text, at + text + vectors, body, None) if text else None
    return None


def _torn(file: IO[bytes], at: int, size: int) -> bool:
    """Whether the rest of a file is what a crash leaves of one entry.

    That is the first part of an entry, or one in which sectors are zeros that never arrived.
    """
    rest = _bytes(file, at, size)
    if not rest.strip(b"\0") or rest.endswith(bytes(ZEROS)):
        return True
    sectors = range(-at % SECTOR, len(rest) - SECTOR + 1, SECTOR)
    if any(rest[start : start + SECTOR] == bytes(SECTOR) for start in sectors):
        return True
    head = _head(file, at)
    if head is None:  # short, or damaged
        length = _HEADER_1.size if rest.startswith(_MAGIC_1) else _HEADER.size + _SUM.size
        return len(rest) < length and rest[:3] == _MAGIC[: len(rest[:3])]
    # lengths of format 1 may be damaged: if the checksum fits all that is there, they are
    return head.end > size and zlib.crc32(_bytes(file, head.text, size)) != head.checksum


def read_acknowledged(folder: Path) -> int | None:
    """Bytes of the log that were acknowledged at least; None where that is not known."""
    try:
        number, _, found = (folder / ACKNOWLEDGED).read_text("ascii").strip().partition(" ")
        return int(number) if checksum(number.encode()) == found else None
    except (OSError, ValueError):
        return None


def write_acknowledged(folder: Path, end: int) -> None:
    """Say how much of the log is on disk: in place, and without waiting for this disk write.

    After a crash, an earlier number may stand here: it is as true.

    Raises:
        OSError: the file cannot be written.
    """
    number = f"{end:020d}"
    text = f"{number} {checksum(number.encode())}\n"
    handle = os.open(folder / ACKNOWLEDGED, os.O_WRONLY | os.O_CREAT | _BINARY, 0o666)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Put a new file's name on disk, too; Windows, which opens no folders, does so by itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
