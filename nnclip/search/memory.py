"""Embeddings in memory, searched exactly; and what every place of embeddings offers.

It needs none of the packages of collections on disk.

Axes: N rows, E embedding.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from nnclip.errors import DataError
from nnclip.search.exact import Exact, Found
from nnclip.search.rows import Growing, unit_rows


class Store(Protocol):
    """A place that can be searched."""

    def __len__(self) -> int: ...

    def nearest(self, query_E: np.ndarray, amount: int, scale: float) -> Found:
        """The rows closest to a query (E,) float32 of unit length; see `Found`."""

    def records(self, rows: Sequence[int]) -> list[Any]:
        """What is known of some rows."""


class MemoryStore:
    """Embeddings and records of this process; searched exactly."""

    def __init__(self, embeddings_NE: np.ndarray, records: Sequence[Any]) -> None:
        """Hold embeddings of any length and as many records; DataError if they do not fit."""
        rows_NE = unit_rows(embeddings_NE)
        self._records: list[Any] = []
        self._rows = Growing(rows_NE.shape[1])
        self._exact = Exact([self._rows.array])
        self.append(rows_NE, records)

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, embeddings_NE: np.ndarray, records: Sequence[Any]) -> None:
        """Hold more, also while others search; DataError if they do not fit."""
        rows_NE = unit_rows(embeddings_NE)
        if len(rows_NE) != len(records):
            raise DataError(
                f"found {len(rows_NE)} embeddings and {len(records)} records, expected as many"
            )
        self._records += records  # before their rows: whoever finds a row also finds its record
        self._rows.append(rows_NE)

    def nearest(self, query_E: np.ndarray, amount: int, scale: float) -> Found:
        """See `Store`."""
        none = np.empty(0, np.int64)
        return self._exact.nearest(query_E, amount, scale, self._rows.array, none)

    def records(self, rows: Sequence[int]) -> list[Any]:
        """See `Store`."""
        return [self._records[row] for row in rows]
