"""Parameters that stay in their file until a compiler or somebody else needs them.

A file that others may write to must not be mapped: touching a page that was cut off since kills the
process. So what is needed is copied into a file of this process alone, and that one is mapped: a
compiler reads its pages once, and they can be given back afterwards, so that the weights do not lie
in memory twice. See docs/decisions/0005.

Of a file in half precision, tables of tokens stay as they are: a graph reads some of their rows,
and widens those. Everything else is widened on its way into the copy.
"""

import logging
import mmap
import os
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from nnclip.errors import CheckpointError
from nnclip.weights.h5 import check_finite, sum_error, sum_of, values_of

logger = logging.getLogger(__name__)

BLOCK = 1 << 20  # bytes copied at once: they stay in the processor's cache
TABLE = "token_embedding/W"  # ends the name of what is only ever read by rows
WIDE, NARROW = np.dtype("<f4"), np.dtype("<f2")


@dataclass(frozen=True)
class _Span:
    """Where the values of a tensor lie in a file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        """Bytes."""
        return self.dtype.itemsize * int(np.prod(self.shape))


class MappedArrays:
    """The arrays of one file, by name: float32, but float16 of a table that is stored so.

    Whoever asks holds NNABLA_LOCK.

    Replacing the file by renaming another one onto it, as all of nnclip does, leaves these arrays
    as they are. Writing into the very file is noticed when an array is first asked for; an array
    that was asked for before stays as it was.

    Attributes:
        digest: over all of them, where somebody has computed it: none of them ever changes.
    """

    def __init__(self, path: str | Path) -> None:
        """Open `path`, which must exist; `add` says what lies in it."""
        self.digest: str | None = None
        self._path = Path(path)
        self._file = open(path, "rb")  # noqa: SIM115, kept to copy from it
        self._state = self._present_state()
        self._spans: dict[str, _Span] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._sums: dict[str, int | None] = {}
        self._copies: list[_Copy] = []

    def add(self, name: str, shape: tuple[int, ...], dataset: h5py.Dataset) -> None:
        """Name a dataset; one that does not lie in the file as plain floats is read at once."""
        offset = dataset.id.get_offset()  # None where it is stored in chunks or compressed
        plain = dataset.dtype in (WIDE, NARROW) and offset is not None
        if plain and offset % dataset.dtype.itemsize == 0:
            self._spans[name] = _Span(offset, shape, dataset.dtype)
            self._sums[name] = sum_of(dataset)
        else:
            self._arrays[name] = np.array(values_of(dataset), np.float32).reshape(shape)

    def names(self) -> set[str]:
        """The names of all arrays."""
        return self._spans.keys() | self._arrays.keys()

    def array(self, name: str) -> np.ndarray:
        """One array, finite and as written, not to be changed.

        Raises:
            CheckpointError: it is not; or it was not asked for before, and somebody has written
                into the file since it was opened.
        """
        try:
            if name not in self._arrays:
                self._arrays[name] = self._fetched(name)
            array = self._arrays[name]
            if name not in self._spans:
                check_finite(name, array)
        except CheckpointError as error:
            if str(self._path) in str(error):
                raise
            raise CheckpointError(f"{self._path}: {error}") from error
        return array

    def give_back(self) -> None:
        """Release the memory that reading has filled; it is read again where it is needed."""
        for copy in self._copies:
            copy.give_back()

    def _fetched(self, name: str) -> np.ndarray:
        """The values, out of the reach of others, checked as they pass: no page is read again."""
        span, found = self._spans[name], 0
        kept = span.dtype == WIDE or name.endswith(TABLE)
        # what is widened lies behind all that is copied as it is, at twice the distances
        place = span.offset if kept else _pages(self._state[0]) + 2 * span.offset
        target = _Span(place, span.shape, span.dtype if kept else WIDE)

        def made(part: bytes) -> bytes:
            nonlocal found
            found = zlib.crc32(part, found)
            values = np.frombuffer(part, span.dtype).astype(WIDE, copy=False)
            check_finite(name, values)
            return part if kept else values.tobytes()

        array = self._copied(span, target, made)
        if self._sums[name] not in (None, found):
            raise sum_error(name)
        return array

    def _copied(self, span: _Span, target: _Span, made: Callable[[bytes], bytes]) -> np.ndarray:
        """What is `made` of the values at `span`, kept at `target` of the copy."""
        scale = target.dtype.itemsize // span.dtype.itemsize

        def into(keep: Callable[[bytes, int], None], start: int) -> Callable[[bytes, int], None]:
            return lambda part, offset: keep(made(part), start + scale * (offset - span.offset))

        try:
            if not self._copies or self._copies[-1].process != os.getpid():
                # what a parent has is not written to; most of it is never written, and no room
                self._copies.append(_Copy(3 * _pages(self._state[0])))
            copy = self._copies[-1]
            self._read(span, into(copy.write, target.offset))
            return copy.array(target)
        except OSError as error:
            logger.info("weights are held in memory: no temporary file for them (%s)", error)
        values = np.empty(span.shape, target.dtype)
        view = values.reshape(-1).view(np.uint8).data

        def hold(part: bytes, offset: int) -> None:
            view[offset:][: len(part)] = part

        self._read(span, into(hold, 0))
        return values

    def _read(self, span: _Span, keep: Callable[[bytes, int], None]) -> None:
        """Hand the bytes there to `keep`, block by block; CheckpointError if they have changed."""
        end = span.offset + span.size
        for offset in range(span.offset, end, BLOCK):
            wanted = min(BLOCK, end - offset)
            try:
                part = self._bytes_at(offset, wanted)
            except OSError as error:
                raise CheckpointError(f"{self._path}: cannot be read ({error.strerror})") from error
            if len(part) < wanted or self._present_state() != self._state:
                raise CheckpointError(
                    f"{self._path}: found it overwritten while a model of it is in use, expected "
                    "it unchanged; load it again, and replace such files by renaming"
                )
            keep(part, offset)

    def _bytes_at(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):  # a forked child shares the place at which `read` reads
            return os.pread(self._file.fileno(), size, offset)
        self._file.seek(offset)
        return self._file.read(size)

    def _present_state(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def _pages(size: int) -> int:
    """So many bytes, and those to the end of a page."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


class _Copy:
    """A file without a name that holds, at the same places, what was needed of another one."""

    def __init__(self, size: int) -> None:
        """Make one of so many bytes, none of them written yet; OSError if there is no place."""
        self.process = os.getpid()
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115, kept as long as its mapping
        self._file.truncate(size)
        # private: OpenVINO wants memory that could be written, though it never does
        self._memory = mmap.mmap(self._file.fileno(), size, access=mmap.ACCESS_COPY)

    def write(self, part: bytes, offset: int) -> None:
        """Put bytes there; OSError if there is no room."""
        self._file.seek(offset)
        view = memoryview(part)
        while view:
            view = view[self._file.write(view) :]

    def array(self, span: _Span) -> np.ndarray:
        """What was written there."""
        count = span.size // span.dtype.itemsize
        values = np.frombuffer(self._memory, span.dtype, count, span.offset)
        return values.reshape(span.shape)

    def give_back(self) -> None:
        """Release the memory that reading has filled."""
        if hasattr(mmap, "MADV_DONTNEED"):  # nothing was written, so nothing is lost
            self._memory.madvise(mmap.MADV_DONTNEED)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
