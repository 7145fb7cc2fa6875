"""Shards: a run of listed images as an array of embeddings and a table of records.

`shards/00012.npy` holds the embeddings of the images that could be read. `shards/00012.parquet`
holds a record of every image that was tried: its `row` in the array, or its `error`.
`shards/00012.json` is the seal: checksums of both. The table is written last, so a shard is there
when its table is.

Axes: N images, E embedding.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.checksums import checksum
from nnclip.errors import DataError
from nnclip.extras import extra
from nnclip.search.feed import Tried
from nnclip.search.manifest import Manifest
from nnclip.search.roots import NO_ROOTS, Roots
from nnclip.search.rows import CheckedRows
from nnclip.search.sealed import read_sealed, write_sealed
from nnclip.search.sources import Item
from nnclip.search.writing import first_line, write_file

with extra():
    import pyarrow as pa
    import pyarrow.parquet as pq

FOLDER = "shards"
PLAN = "plan.parquet"
PART = 1 << 15  # bytes of rows, about, that have one checksum: a query reads 100 rows, each in one
_ITEM = [
    ("image", pa.string()),
    ("path", pa.string()),
    ("offset", pa.int64()),
    ("size", pa.int64()),
    ("form", pa.string()),
]
PLANNED = pa.schema(_ITEM)
_FACTS = [
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("taken", pa.string()),
    ("camera", pa.string()),
    ("latitude", pa.float64()),
    ("longitude", pa.float64()),
]
RECORD = pa.schema(
    [
        *_ITEM,
        ("changed", pa.int64()),
        ("bytes", pa.int64()),
        ("digest", pa.string()),
        *_FACTS,
        ("row", pa.int32()),
        ("error", pa.string()),
    ]
)
# columns that earlier versions did not write, and what stands in their place
_LATER: dict[str, str | None] = {"form": "", **{name: None for name, _ in _FACTS}}


@dataclass(frozen=True)
class Seal:
    """What a shard is compared with when it is read.

    Attributes:
        rows: of the array.
        part: rows that have one checksum.
        checksums: of the parts, in order; the last may be shorter.
        table: checksum of the table's file.
        failed: places of the images that have no row, among all of the shard.
        dead: rows of images that could not be read any more when the shard was embedded again.
    """

    rows: int
    part: int
    checksums: list[int]
    table: str
    failed: list[int]
    dead: list[int]


def write_plan(folder: Path, items: Sequence[Item], head: dict[str, Any]) -> str:
    """Write what is to be embedded, and a copy of the manifest, whole or not at all.

    The names of items are stored ones, see `nnclip.search.roots`, here and in `read_plan`.

    Returns:
        The file's checksum.
    """
    columns = [[getattr(item, name) for item in items] for name in PLANNED.names]
    table = pa.table(columns, schema=PLANNED.with_metadata({"nnclip": json.dumps(head)}))
    content = _table_bytes(table)
    _write_bytes(folder / PLAN, content)
    return checksum(content)


def read_plan(folder: Path, expected: str = "") -> tuple[list[Item], dict[str, Any]]:
    """What is to be embedded, and the copy of the manifest ({} in plans of format 1).

    Args:
        folder: Of the collection.
        expected: The file's checksum; "" if it is not known.

    Raises:
        DataError: The file is missing or damaged.
    """
    table = _read_table(folder / PLAN, PLANNED, expected, folder)
    head = json.loads((table.schema.metadata or {}).get(b"nnclip", b"{}"))
    return [Item(**fields) for fields in table.to_pylist()], head


def planned_items(folder: Path, manifest: Manifest, roots: Roots) -> list[Item]:
    """What is to be embedded, all that the manifest counts; DataError otherwise."""
    items, _ = read_plan(folder, manifest.plan)
    if len(items) != manifest.items:
        raise DataError(
            f"{folder / PLAN}: found {len(items):,} images, expected {manifest.items:,}; "
            f"{_remedy(folder)}"
        )
    return [item_of(roots.current_record(vars(item))) for item in items]


def shard_path(folder: Path, number: int) -> Path:
    """The shard's file without its ending."""
    return folder / FOLDER / f"{number:05d}"


def has_shard(folder: Path, number: int) -> bool:
    """Whether a shard was written."""
    return shard_path(folder, number).with_suffix(".parquet").is_file()


def present_shards(folder: Path, manifest: Manifest) -> list[int]:
    """The numbers of the shards that were written."""
    names = (path.stem for path in (folder / FOLDER).glob("*.parquet"))
    numbers = sorted(int(name) for name in names if name.isdecimal())
    return [number for number in numbers if number < manifest.shards]


def write_shard(
    folder: Path,
    number: int,
    rows_NE: np.ndarray,
    tried: Sequence[Tried],
    dead: Sequence[int] = (),
    roots: Roots = NO_ROOTS,
) -> None:
    """Write a shard; it is there as a whole or not at all. DataError if it cannot be written.

    Args:
        folder: of the collection.
        number: of the shard.
        rows_NE: embeddings of the images without an error, in order.
        tried: all images of the shard.
        dead: rows that do not count.
        roots: what names are kept relative to.
    """
    path, rows_NE = shard_path(folder, number), np.ascontiguousarray(rows_NE)
    write_file(path.with_suffix(".npy"), lambda temporary: _save(temporary, rows_NE))
    table = _table_bytes(pa.table(_columns(tried, roots), schema=RECORD))
    part = max(1, PART // max(1, rows_NE[:1].nbytes))
    starts = range(0, len(rows_NE), part)
    sums = [zlib.crc32(rows_NE[at : at + part].data) for at in starts]
    failed = [place for place, it in enumerate(tried) if it.error is not None]
    seal = Seal(len(rows_NE), part, sums, checksum(table), failed, [int(row) for row in dead])
    write_sealed(path.with_suffix(".json"), asdict(seal))
    _write_bytes(path.with_suffix(".parquet"), table)


def _save(temporary: str, rows_NE: np.ndarray) -> None:
    with open(temporary, "wb") as file:
        np.save(file, rows_NE)


def _columns(tried: Sequence[Tried], roots: Roots) -> list[list[Any]]:
    records = [roots.stored_record(record_of(it)) for it in tried]
    columns = [[record[name] for record in records] for name in RECORD.names[:-2]]
    row, rows = 0, []
    for it in tried:
        rows.append(row if it.error is None else None)
        row += it.error is None
    return [*columns, rows, [it.error for it in tried]]


def record_of(tried: Tried) -> dict[str, Any]:
    """A record as it is kept and found again."""
    item = {name: getattr(tried.item, name) for name in PLANNED.names}
    file = {"changed": tried.changed, "bytes": tried.bytes, "digest": tried.digest}
    return {**item, **file, **asdict(tried.facts)}


def item_of(record: dict[str, Any]) -> Item:
    """The image that a record tells of."""
    return Item(**{name: record[name] for name in PLANNED.names if name in record})


def read_seal(folder: Path, number: int) -> Seal | None:
    """What the shard is compared with; None for shards of format 1. DataError if it is damaged."""
    path = shard_path(folder, number).with_suffix(".json")
    try:
        return Seal(**read_sealed(path, _remedy(folder)))
    except FileNotFoundError:
        return None
    except TypeError as error:
        raise DataError(f"{path}: {first_line(error)}; {_remedy(folder)}") from error


def read_vectors(
    folder: Path, number: int, manifest: Manifest
) -> tuple[np.ndarray | CheckedRows, Sequence[int]]:
    """The rows of a shard (N, E) float16 or float32, mapped, and those of them that do not count.

    Each row is compared with its checksum when it is first read.

    Raises:
        DataError: They are missing, damaged, or not what the manifest says.
    """
    path = shard_path(folder, number).with_suffix(".npy")
    seal = read_seal(folder, number)
    if seal is None and manifest.format > 1:
        raise DataError(f"{path.with_suffix('.json')}: is missing; {_remedy(folder)}")
    try:
        mapped = np.load(path, mmap_mode="r")
        rows_NE = mapped.view(np.ndarray)  # a memmap is slow to take rows of
        left = path.stat().st_size - mapped.offset - mapped.nbytes
    except Exception as error:  # NumPy's reader of headers raises what Python's does, too
        raise DataError(
            f"{path}: is missing or damaged ({first_line(error)}); {_remedy(folder)}"
        ) from error
    found = (rows_NE.dtype.name, *rows_NE.shape)
    expected = (manifest.dtype, len(rows_NE) if seal is None else seal.rows, manifest.embed)
    if found != expected or left or not rows_NE.flags.c_contiguous:
        raise DataError(
            f"{path}: found {' '.join(map(str, found))}{f' and {left:,} bytes' if left else ''}, "
            f"expected {' '.join(map(str, expected))}; {_remedy(folder)}"
        )
    if seal is None:
        return rows_NE, ()
    return CheckedRows(rows_NE, seal.part, seal.checksums, f"{path}", _remedy(folder)), seal.dead


def read_records(folder: Path, number: int) -> pa.Table:
    """A shard's table, all images that were tried; DataError where it is damaged."""
    seal = read_seal(folder, number)
    path = shard_path(folder, number).with_suffix(".parquet")
    return _read_table(path, RECORD, "" if seal is None else seal.table, folder)


def check_shard(folder: Path, number: int, manifest: Manifest) -> pa.Table:
    """The table of a shard all of whose files are as they were written; DataError if not."""
    rows_NE, _ = read_vectors(folder, number, manifest)
    np.asarray(rows_NE)
    table = read_records(folder, number)
    if (with_rows := embedded(table).num_rows) != len(rows_NE):
        raise DataError(
            f"{shard_path(folder, number)}.parquet: found records of {with_rows:,} images, "
            f"expected {len(rows_NE):,}; {_remedy(folder)}"
        )
    return table


def failed_before(folder: Path, number: int, counted: bool) -> frozenset[int] | None:
    """Places of a damaged shard's images that have no row, by whichever file is whole.

    None if there is no such file and nothing counts the rows, as before a collection is complete.

    Args:
        folder: of the collection.
        number: of the shard.
        counted: whether the log counts rows.

    Raises:
        DataError: no file tells, and the log counts the rows.
    """
    try:
        if (seal := read_seal(folder, number)) is not None:
            return frozenset(seal.failed)
    except DataError:
        pass
    try:
        rows = _read_table(shard_path(folder, number).with_suffix(".parquet"), RECORD, "", folder)
        return frozenset(np.flatnonzero(rows["row"].is_null().to_numpy()).tolist())
    except DataError:
        pass
    if counted:
        raise DataError(
            f"{shard_path(folder, number)}: the seal and the table are damaged or missing, and the "
            "log counts their rows: restore one of them from a copy, or embed into another folder"
        )
    return None


def embedded(table: pa.Table) -> pa.Table:
    """The records that have a row, in the order of the rows."""
    return table.filter(table["row"].is_valid())


def _remedy(folder: Path) -> str:
    return f"`nnclip repair {folder}` makes it again"


def _parsed(content: bytes) -> pa.Table:
    """Read by this thread alone: Arrow's own may give `content` back when Python is ending already,
    which aborts the process.
    """
    return pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)


def _read_table(path: Path, schema: pa.Schema, expected: str, folder: Path) -> pa.Table:
    """A table whose bytes have the expected checksum, where that is known, before it is parsed."""
    try:
        content = path.read_bytes()
        damaged = expected and checksum(content) != expected
        table = None if damaged else _completed(_parsed(content), schema)
    except Exception as error:  # of a file without a checksum, Arrow may raise anything
        raise DataError(
            f"{path}: is missing or damaged ({first_line(error)}); {_remedy(folder)}"
        ) from error
    if table is None or not table.schema.equals(schema):
        raise DataError(f"{path}: is damaged, its checksum is another; {_remedy(folder)}")
    return table


def _completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with those columns that earlier versions did not write."""
    for field in schema:
        if field.name in _LATER and field.name not in table.column_names:
            values = pa.array([_LATER[field.name]] * table.num_rows, field.type)
            table = table.append_column(field, values)
    return table.select(schema.names)


def _table_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _write_bytes(path: Path, content: bytes) -> None:
    write_file(path, lambda temporary: Path(temporary).write_bytes(content))
