"""Shards: a run of listed pictures as an array of embeddings and a table of records.

`shards/00012.npy` holds the embeddings of the pictures that could be read. `shards/00012.parquet`
holds a record of every picture that was tried: its `row` in the array, or its `error`. The table is
written last, so a shard is there when its table is.

Axes: N pictures, E embedding.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.errors import DataError
from nnclip.extras import extra
from nnclip.search.feed import Tried
from nnclip.search.sources import Item
from nnclip.search.writing import write_file

with extra():
    import pyarrow as pa
    import pyarrow.parquet as pq

FOLDER = "shards"
PLAN = "plan.parquet"
_ITEM = [
    ("image", pa.string()),
    ("path", pa.string()),
    ("offset", pa.int64()),
    ("size", pa.int64()),
    ("form", pa.string()),
]
PLANNED = pa.schema(_ITEM)
RECORD = pa.schema(
    [
        *_ITEM,
        ("changed", pa.int64()),
        ("bytes", pa.int64()),
        ("digest", pa.string()),
        ("row", pa.int32()),
        ("error", pa.string()),
    ]
)


def write_plan(folder: Path, items: Sequence[Item]) -> None:
    """Write what is to be embedded, whole or not at all."""
    columns = [[getattr(item, name) for item in items] for name in PLANNED.names]
    _write_table(folder / PLAN, pa.table(columns, schema=PLANNED))


def read_plan(folder: Path) -> list[Item]:
    """What is to be embedded."""
    return [Item(**fields) for fields in _read_table(folder / PLAN).to_pylist()]


def shard_path(folder: Path, number: int) -> Path:
    """The shard's file without its ending."""
    return folder / FOLDER / f"{number:05d}"


def has_shard(folder: Path, number: int) -> bool:
    """Whether a shard was written."""
    return shard_path(folder, number).with_suffix(".parquet").is_file()


def write_shard(folder: Path, number: int, rows_NE: np.ndarray, tried: Sequence[Tried]) -> None:
    """Write a shard; it is there as a whole or not at all. DataError if it cannot be written.

    Args:
        folder: of the collection.
        number: of the shard.
        rows_NE: embeddings of the pictures without an error, in order.
        tried: all pictures of the shard.
    """
    path = shard_path(folder, number)
    write_file(path.with_suffix(".npy"), lambda temporary: _save(temporary, rows_NE))
    _write_table(path.with_suffix(".parquet"), pa.table(_columns(tried), schema=RECORD))


def _save(temporary: str, rows_NE: np.ndarray) -> None:
    with open(temporary, "wb") as file:
        np.save(file, rows_NE)


def _columns(tried: Sequence[Tried]) -> list[list[Any]]:
    records = [record_of(it) for it in tried]
    columns = [[record[name] for record in records] for name in RECORD.names[:-2]]
    row, rows = 0, []
    for it in tried:
        rows.append(row if it.error is None else None)
        row += it.error is None
    return [*columns, rows, [it.error for it in tried]]


def record_of(tried: Tried) -> dict[str, Any]:
    """A record as it is kept and found again."""
    item = {name: getattr(tried.item, name) for name in PLANNED.names}
    return {**item, "changed": tried.changed, "bytes": tried.bytes, "digest": tried.digest}


def item_of(record: dict[str, Any]) -> Item:
    """The picture that a record tells of."""
    return Item(*(record[name] for name in PLANNED.names))


def read_vectors(folder: Path, number: int) -> np.ndarray:
    """(N, E) float16 or float32, mapped; DataError where they are missing or damaged."""
    path = shard_path(folder, number).with_suffix(".npy")
    try:
        return np.load(path, mmap_mode="r").view(np.ndarray)  # a memmap is slow to take rows of
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: is missing or damaged ({error}); delete the .parquet beside it and embed "
            "again, which makes this shard anew"
        ) from error


def read_records(folder: Path, number: int) -> pa.Table:
    """A shard's table, all pictures that were tried; DataError where it is damaged."""
    return _read_table(shard_path(folder, number).with_suffix(".parquet"))


def embedded(table: pa.Table) -> pa.Table:
    """The records that have a row, in the order of the rows."""
    return table.filter(table["row"].is_valid())


def _read_table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: is missing or damaged ({error}); embed again") from error


def _write_table(path: Path, table: pa.Table) -> None:
    write_file(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))
