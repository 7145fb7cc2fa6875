"""Arrays of embeddings: checked, growing, gathered from several.

Axes: N rows, E embedding.
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from nnclip.embeddings import unit
from nnclip.errors import DataError


def unit_rows(features_NE: np.ndarray) -> np.ndarray:
    """Features -> (N, E) float32 of unit length.

    Raises:
        DataError: not a matrix, or a row that has no direction.
    """
    rows_NE = np.asarray(features_NE, np.float32)
    if rows_NE.ndim != 2:
        raise DataError(f"embeddings: found shape {rows_NE.shape}, expected (N, E)")
    lengths = np.linalg.norm(rows_NE, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        bad = int((~np.isfinite(lengths) | (lengths == 0)).sum())
        raise DataError(
            f"{bad} of {len(rows_NE)} embeddings are zero or not finite: is the model damaged?"
        )
    return unit(rows_NE)


NO_ROWS = np.empty(0, np.int64)
AT_ONCE = 1024  # rows that are converted while they stay near the processor


def widened(rows_NE: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Finite float16 or float32 numbers as float32; float32 ones as they are unless `out` is given.

    The bits of a float16 are moved to their places in a float32, whose exponent then counts from
    another number: 0.35 ns a number, where NumPy's own conversion takes 2.2.

    Args:
        rows_NE: contiguous.
        out: where they go, float32 of the same shape.
    """
    if rows_NE.dtype != np.float16:
        if out is None:
            return np.asarray(rows_NE, np.float32)
        out[...] = rows_NE
        return out
    found = np.empty(rows_NE.shape, np.float32) if out is None else out
    for at in range(0, len(rows_NE), AT_ONCE):
        part = found[at : at + AT_ONCE]
        bits = part.view(np.uint32)
        np.copyto(bits, rows_NE[at : at + AT_ONCE].view(np.int16), casting="unsafe")
        bits <<= 13
        bits &= 0x8FFFE000  # the sign, of which there are four copies, and the other 15 bits
        part *= np.float32(2.0 ** (127 - 15))
    return found


class CheckedRows:
    """Rows that lie in a file, each part of which is compared with its checksum when first read.

    Reads like an array (N, E): by slices, by numbers of rows, or whole through `np.asarray`.
    """

    def __init__(
        self, rows_NE: np.ndarray, part: int, checksums: Sequence[int], name: str, remedy: str
    ) -> None:
        """Wrap mapped rows.

        Args:
            rows_NE: contiguous.
            part: rows that have one checksum.
            checksums: CRC-32 of the parts.
            name: of the file, for the error.
            remedy: what to do if it is damaged, for the error.
        """
        self._rows_NE, self._part, self._checksums = rows_NE, part, checksums
        self._name, self._remedy = name, remedy
        self._right = np.zeros(len(checksums), bool)
        self.shape, self.dtype, self.size = rows_NE.shape, rows_NE.dtype, rows_NE.size

    def __len__(self) -> int:
        return len(self._rows_NE)

    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, slice):
            first, last, _ = key.indices(len(self))
            self._check(range(first // self._part, -(-last // self._part)))
        else:
            whole = isinstance(key, np.ndarray) and key.dtype.kind == "i"
            rows = key % max(1, len(self)) if whole else np.arange(len(self))[key]
            parts = rows // self._part
            if not self._right[parts].all():
                self._check(np.unique(parts).tolist())
        return self._rows_NE[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self._check(range(len(self._checksums)))
        rows_NE = np.asarray(self._rows_NE, dtype)
        return rows_NE.copy() if copy else rows_NE

    def _check(self, parts: Iterable[int]) -> None:
        for number in parts:
            if self._right[number]:
                continue
            first = number * self._part
            rows_NE = self._rows_NE[first : first + self._part]
            if zlib.crc32(rows_NE.data) != self._checksums[number]:
                raise DataError(
                    f"{self._name}: rows {first:,} to {first + len(rows_NE) - 1:,} are damaged, "
                    f"their checksum is another; {self._remedy}"
                )
            self._right[number] = True


Rows = np.ndarray | CheckedRows


class Growing:
    """A float32 array that rows are appended to."""

    def __init__(self, embed: int) -> None:
        self._held = np.empty((0, embed), np.float32)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def array(self) -> np.ndarray:
        """(N, E); stays as it is when more is appended."""
        return self._held[: self._length]

    def append(self, rows_NE: np.ndarray) -> None:
        """Add rows, converted."""
        needed = self._length + len(rows_NE)
        if needed > len(self._held):
            room = max(needed, 2 * len(self._held))
            held = np.empty((room, self._held.shape[1]), np.float32)
            held[: self._length] = self.array
            self._held = held
        self._held[self._length : needed] = rows_NE
        self._length = needed


def gather(blocks: Sequence[Rows], rows: np.ndarray) -> np.ndarray:
    """Some rows of the arrays taken as one, (len(rows), E) float32."""
    starts = np.cumsum([0, *map(len, blocks)])
    block_of = np.searchsorted(starts, rows, side="right") - 1
    found = np.empty((len(rows), blocks[0].shape[1] if blocks else 0), np.float32)
    for number in np.unique(block_of):
        chosen = block_of == number
        found[chosen] = widened(blocks[number][rows[chosen] - starts[number]])
    return found
