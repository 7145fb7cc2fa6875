"""Arrays of embeddings: checked, growing, gathered from several.

Axes: N rows, E embedding.
"""

from collections.abc import Sequence

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


def gather(blocks: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Some rows of the arrays taken as one, (len(rows), E) float32."""
    starts = np.cumsum([0, *map(len, blocks)])
    block_of = np.searchsorted(starts, rows, side="right") - 1
    found = np.empty((len(rows), blocks[0].shape[1] if blocks else 0), np.float32)
    for number in np.unique(block_of):
        chosen = block_of == number
        found[chosen] = blocks[number][rows[chosen] - starts[number]]
    return found
