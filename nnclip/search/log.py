"""What was added and removed since a collection was embedded: a file that only grows.

An entry is a header of fixed length, some JSON and some vectors, with a checksum over both. It
counts once the file is on disk (fsync), and only then is it acknowledged. What a crash leaves
behind the last whole entry is no entry: readers stop there, and the next writer cuts it off.

Axes: N rows, E embedding.
"""

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from nnclip.errors import DataError

FILE = "log"
_HEADER = struct.Struct("<4sIQI")  # magic, bytes of JSON, bytes of vectors, checksum
_MAGIC = b"NnC1"


@dataclass(frozen=True)
class Entry:
    """A change, which happens as a whole.

    Attributes:
        records: what is added, one a row of `vectors`.
        vectors: (N, E), of the collection's dtype.
        removed: rows that go, counted from the collection's first.
        sources: that the collection follows from now on; None for the same as before.
        banned: names of pictures that `update` must not bring back.
    """

    records: Sequence[dict[str, Any]] = ()
    vectors: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float16))
    removed: Sequence[int] = ()
    sources: Sequence[str] | None = None
    banned: Sequence[str] = ()


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
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return
        if size <= self.end:
            return
        with open(self.path, "rb") as file:
            file.seek(self.end)
            while (entry := self._entry(file, size)) is not None:
                self.end = file.tell()
                yield entry

    def _entry(self, file: IO[bytes], size: int) -> Entry | None:
        """The next one; None where there is none, or not all of it."""
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size or not any(header):
            return None
        magic, text_size, vector_size, checksum = _HEADER.unpack(header)
        after = file.tell() + text_size + vector_size
        if magic == _MAGIC and after > size:
            return None
        text, vectors = file.read(text_size), file.read(vector_size)
        if magic != _MAGIC or not text or zlib.crc32(vectors, zlib.crc32(text)) != checksum:
            if magic == _MAGIC and after == size:  # the last one: its pages did not all arrive
                return None
            raise DataError(
                f"{self.path}: found damage after {self.end:,} of {size:,} bytes, expected an "
                "entry: restore the file from a copy, or cut it there and run update"
            )
        rows_NE = np.frombuffer(vectors, self._dtype).reshape(-1, self._embed)
        return Entry(vectors=rows_NE, **json.loads(text))

    def append(self, entry: Entry) -> None:
        """Add an entry, on disk when this returns; the caller holds `locked` and has read all.

        Raises:
            DataError: the disk is full, or the file cannot be written.
        """
        content = {
            "records": list(entry.records),
            "removed": [int(row) for row in entry.removed],
            "sources": None if entry.sources is None else list(entry.sources),
            "banned": list(entry.banned),
        }
        text = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
        vectors = np.ascontiguousarray(entry.vectors, self._dtype).tobytes()
        checksum = zlib.crc32(vectors, zlib.crc32(text))
        new = not self.path.exists()
        try:
            with open(self.path, "ab") as file:
                file.truncate(self.end)  # what a crash has left
                file.write(_HEADER.pack(_MAGIC, len(text), len(vectors), checksum))
                file.write(text)
                file.write(vectors)
                file.flush()
                os.fsync(file.fileno())
                self.end = file.tell()
            if new:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot be written ({error}); nothing was changed"
            ) from error


def _sync_folder(folder: Path) -> None:
    """Put a new file's name on disk, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer at a time: others wait. A writer that dies lets go."""
    try:
        file = open(folder / "lock", "ab")  # noqa: SIM115
    except OSError as error:
        raise DataError(f"{folder}: cannot be written to ({error})") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
