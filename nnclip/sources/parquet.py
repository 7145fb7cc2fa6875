"""Parquet files, as img2dataset, LAION and Hugging Face write them.

| column of images | where an image is |
|---|---|
| text | a file of this name |
| binary, or `{bytes, path}` | in the parquet file; read with the group of rows that it lies in |
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from nnclip.errors import DataError
from nnclip.extras import extra
from nnclip.files import open_regular, shown
from nnclip.sources.bad import Bad
from nnclip.sources.rows import Row, Table

SUFFIXES = (".parquet", ".pq")
LARGEST_GROUP = 1 << 28  # bytes of a group of rows, in a column of images
KEPT = 2  # such groups in memory, of each process
BATCH = 1024  # rows that are read at once


def parquet(path: Path) -> Table:
    """A parquet file as a table; DataError if it is none."""
    with _opened(path) as file:
        schema = file.schema_arrow
        pictured = tuple(name for name in schema.names if _is_image(schema.field(name).type))
        plain = [name for name in schema.names if name not in pictured]
        first = next(file.iter_batches(1, columns=plain), None)
    cells = first.to_pylist()[0] if first is not None and len(first) and plain else {}
    rows = partial(_rows, path)
    return Table(path, "a parquet file", tuple(schema.names), cells, rows, pictured=pictured)


def _rows(path: Path, _: Bad, wanted: Sequence[str]) -> Iterator[Row]:
    with _opened(path) as file:
        number = 0
        for batch in file.iter_batches(BATCH, columns=list(wanted)):
            for row in batch.to_pylist() if len(wanted) else [{}] * len(batch):
                number += 1
                yield number, row


def check_groups(path: Path, column: str) -> None:
    """Raise DataError where reading one image would read too much."""
    with _opened(path) as file:
        about = file.metadata
        leaves = [
            i
            for i in range(about.num_columns)
            if about.row_group(0).column(i).path_in_schema.split(".")[0] == column
        ] if about.num_row_groups else []  # fmt: skip
        largest = max(
            (
                sum(about.row_group(g).column(i).total_uncompressed_size for i in leaves)
                for g in range(about.num_row_groups)
            ),
            default=0,
        )
    if largest > LARGEST_GROUP:
        raise DataError(
            f"{shown(path)}: found a group of rows with {largest / 2**20:,.0f} MB of images, "
            f"expected at most {LARGEST_GROUP / 2**20:,.0f} MB; write it again with smaller ones "
            "(pyarrow: write_table(table, path, row_group_size=100))"
        )


def load(path: str, offset: int, size: int) -> bytes:
    """The bytes of the image in row `offset`, from 0, of column number `size`."""
    status = os.stat(path)
    starts = _starts(path, status.st_mtime_ns, status.st_size)
    group = max(g for g, start in enumerate(starts) if start <= offset)
    cell = _group(path, status.st_mtime_ns, status.st_size, group, size)[offset - starts[group]]
    content = cell.as_py()
    if isinstance(content, dict):
        content = content.get("bytes")
    if not content:
        raise DataError(f"{shown(path)}: row {offset + 1} holds no image")
    return bytes(content)


@lru_cache(maxsize=64)
def _starts(path: str, _changed: int, _size: int) -> list[int]:
    """The first row of each group."""
    with _opened(Path(path)) as file:
        starts = [0]
        for group in range(file.metadata.num_row_groups - 1):
            starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
        return starts


@lru_cache(maxsize=KEPT)
def _group(path: str, _changed: int, _size: int, group: int, column: int) -> Any:
    with _opened(Path(path)) as file:
        return file.read_row_group(group, columns=[file.schema_arrow.names[column]]).column(0)


def _is_image(kind: Any) -> bool:
    """Whether a column of this type holds images, not their names."""
    with extra():
        import pyarrow.types as types
    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return types.is_binary(kind) or types.is_large_binary(kind)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A pyarrow.parquet.ParquetFile."""
    with extra():
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        with open_regular(path) as file:
            yield pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{shown(path)}: cannot be read as a parquet file ({error})") from error
