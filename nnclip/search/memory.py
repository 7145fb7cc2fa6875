"""Embeddings in memory, searched exactly; and what every place of embeddings offers.

It needs none of the packages of collections on disk, but for filters.

Axes: N rows, E embedding.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np

from nnclip.errors import DataError
from nnclip.extras import extra
from nnclip.search.exact import Exact, Found
from nnclip.search.rows import NO_ROWS, Growing, unit_rows
from nnclip.search.writing import first_line


class Store(Protocol):
    """A place that can be searched."""

    def __len__(self) -> int: ...

    def nearest(
        self, query_E: np.ndarray, k: int, scale: float, left_out: np.ndarray = NO_ROWS
    ) -> Found:
        """The rows closest to a query, see `Found`.

        Args:
            query_E: (E,) float32 of unit length.
            k: how many, at most.
            scale: of the softmax.
            left_out: rows that are not to be found, sorted.
        """

    def records(self, rows: Sequence[int]) -> list[Any]:
        """What is known of some rows."""

    def columns(self, fields: Sequence[str]) -> tuple[np.ndarray, Mapping[str, Any]]:
        """All rows, sorted, and by field what their records say: a pyarrow array.

        Raises:
            DataError: the records have no such field.
        """

    def embeddings(self, rows: Sequence[int]) -> np.ndarray:
        """Some rows, (len(rows), E)."""

    def steady(self) -> AbstractContextManager[None]:
        """Inside, rows keep their numbers."""


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

    def nearest(
        self, query_E: np.ndarray, k: int, scale: float, left_out: np.ndarray = NO_ROWS
    ) -> Found:
        """See `Store`."""
        return self._exact.nearest(query_E, k, scale, self._rows.array, NO_ROWS, left_out)

    def columns(self, fields: Sequence[str]) -> tuple[np.ndarray, Mapping[str, Any]]:
        """See `Store`."""
        with extra():
            import pyarrow as pa
        records = self._records[: len(self._rows)]
        found = {}
        for name in fields:
            values = [_field(record, name) for record in records]
            try:
                found[name] = pa.array(values)
            except pa.ArrowException as error:
                raise DataError(
                    f"{name:.60}: found values of several types ({first_line(error)}), expected "
                    "texts or numbers"
                ) from error
            if records and found[name].null_count == len(records):
                raise DataError(f"{name:.60}: found no such field in the records")
        return np.arange(len(records)), found

    def embeddings(self, rows: Sequence[int]) -> np.ndarray:
        """See `Store`."""
        return self._rows.array[list(rows)]

    def steady(self) -> AbstractContextManager[None]:
        """See `Store`; rows are only added."""
        return nullcontext()

    def records(self, rows: Sequence[int]) -> list[Any]:
        """See `Store`."""
        return [self._records[row] for row in rows]


def _field(record: Any, name: str) -> Any:
    """What a record of any kind says; a record that is no dict is the name of its image."""
    if isinstance(record, dict):
        return record.get(name)
    return str(record) if name == "image" else None
