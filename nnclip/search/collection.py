"""An embedded collection in a folder: shards, a log of what changed since, an index.

Rows are counted through the shards, then through the log; a row keeps its number for ever, also
when it is removed. While the images are still being embedded, the rows are those of the shards
that are there, and get other numbers when `refresh` finds more.

Axes: N rows, E embedding.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.errors import DataError
from nnclip.extras import extra
from nnclip.search.lock import locked
from nnclip.search.log import FILE as LOG
from nnclip.search.log import Entry, Log
from nnclip.search.manifest import read_manifest
from nnclip.search.roots import Roots
from nnclip.search.rows import Growing, Rows, gather
from nnclip.search.shards import (
    RECORD,
    embedded,
    present_shards,
    read_records,
    read_vectors,
    shard_path,
)

with extra():
    import pyarrow as pa
    import pyarrow.compute as pc


class Collection:
    """Embeddings and records on disk; several processes may read while one writes.

    Attributes:
        path: the folder.
        manifest: its head.
        sources: what `update` looks through.
        roots: where the folders are that names begin in.
        exclude: patterns of what the sources leave out; None for nothing.
        dead: the removed rows, sorted, int64.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a folder; vectors stay in their files.

        Raises:
            DataError: it is none, or is damaged.
        """
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        self._numbers: list[int] = []  # of the shards that are there
        self._tables: dict[int, pa.Table] = {}
        self._added = Growing(self.manifest.embed)
        self._records: list[dict[str, Any]] = []
        self._banned = set[str]()
        self._columns: dict[str, pa.Array] = {}
        self._columns_of: Any = None  # what they were made of
        self._mutex = threading.RLock()
        self.sources, self.exclude = list(self.manifest.sources), self.manifest.exclude
        self.roots = Roots(self.manifest.roots)
        self._open_shards()
        self._log = Log(self.path / LOG, self.manifest.embed, self.manifest.dtype)
        self.refresh()

    def _open_shards(self) -> bool:
        """Open the shards that are there; whether there are other ones than before."""
        there = present_shards(self.path, self.manifest)
        if there == self._numbers and hasattr(self, "_shards"):
            return False
        read = [read_vectors(self.path, number, self.manifest) for number in there]
        self._numbers, self._shards = there, [rows_NE for rows_NE, _ in read]
        self._starts = np.cumsum([0, *map(len, self._shards)])
        starts = self._starts.tolist()
        self._dead = {starts[place] + row for place, (_, dead) in enumerate(read) for row in dead}
        self.dead = np.array(sorted(self._dead), np.int64)
        return True

    @property
    def waiting(self) -> int:
        """How many of the listed images no shard holds yet."""
        size, items = self.manifest.shard, self.manifest.items
        there = set(self._numbers)
        missing = (n for n in range(self.manifest.shards) if n not in there)
        return sum(min(size, items - n * size) for n in missing)

    @property
    def banned(self) -> set[str]:
        """Names of images that `update` leaves out."""
        return {self.roots.current(name) for name in self._banned}

    def check_whole(self) -> None:
        """DataError while images are still to be embedded."""
        if self.waiting:
            raise DataError(
                f"{self.path}: {self.waiting:,} of {self.manifest.items:,} images are not embedded "
                "yet: run the same `nnclip embed` again, it goes on where it stopped"
            )

    @property
    def rows(self) -> int:
        """Number of rows, removed ones too."""
        return int(self._starts[-1]) + len(self._records)

    def __len__(self) -> int:
        """Number of images."""
        return self.rows - len(self._dead)

    @property
    def blocks(self) -> list[Rows]:
        """The arrays that together are all rows, each (n, E); the last one, float32, grows."""
        return [*self._shards, self._added.array]

    def refresh(self) -> bool:
        """Take in what came since, also by other processes; whether there was anything."""
        with self._mutex:
            before = self._log.end
            new = self._open_shards() if self.waiting else False
            for entry in self._log.read():
                self._take(entry)
            return new or self._log.end > before

    def _take(self, entry: Entry) -> None:
        if entry.records or entry.removed:
            self.check_whole()  # it counts rows of all shards
        if entry.removed:
            if not 0 <= min(entry.removed) <= max(entry.removed) < self.rows:
                raise DataError(
                    f"{self.path / LOG}: found an entry that removes row {max(entry.removed):,} of "
                    f"{self.rows:,}: the shards or the manifest are not those it was written for; "
                    "restore them from a copy, or embed the images into another folder"
                )
            self._dead.update(entry.removed)
            self.dead = np.array(sorted(self._dead), np.int64)
        if entry.records:
            self._added.append(entry.vectors.astype(self.manifest.dtype))
        self._records += entry.records
        if entry.sources is not None:
            self.sources = list(entry.sources)
        if entry.exclude is not None:
            self.exclude = tuple(entry.exclude)
        if entry.roots is not None:
            self.roots = Roots(entry.roots)
        self._banned -= {record["image"] for record in entry.records}
        self._banned |= set(entry.banned)

    @contextmanager
    def changing(self, whole: bool = True) -> Iterator[None]:
        """Hold the collection for changes that belong together: other processes wait.

        What they changed before is taken in first.

        Args:
            whole: whether all images must be embedded by now.

        Raises:
            DataError: they are not.
        """
        with locked(self.path):
            self.refresh()
            if whole:
                self.check_whole()
            yield

    def append(self, entry: Entry) -> range:
        """Add and remove, at once and for good; the numbers of the new rows.

        Raises:
            DataError: vectors that do not fit, rows that are not there, a full disk.
        """
        if len(entry.vectors) != len(entry.records):
            raise DataError(
                f"found {len(entry.vectors)} vectors and {len(entry.records)} records, expected as "
                "many"
            )
        if len(entry.vectors) and entry.vectors.shape[1] != self.manifest.embed:
            raise DataError(
                f"found vectors of {entry.vectors.shape[1]} numbers, expected {self.manifest.embed}"
            )
        with locked(self.path), self._mutex:
            self.refresh()
            if entry.records or entry.removed:
                self.check_whole()
            gone = [row for row in entry.removed if not 0 <= row < self.rows]
            if gone:
                raise DataError(f"row {gone[0]}: found {self.rows} rows, expected a lower number")
            first = self.rows
            roots = self.roots if entry.roots is None else Roots(entry.roots)
            records = [roots.stored_record(record) for record in entry.records]
            banned = [roots.stored(name) for name in entry.banned]
            entry = replace(entry, records=records, banned=banned, first=first)
            self._log.append(entry)
            self._log.acknowledge()
            self._take(entry)
        return range(first, self.rows)

    def columns(self, fields: Sequence[str]) -> tuple[np.ndarray, dict[str, pa.Array]]:
        """Fields of the records of all rows.

        Returns:
            The rows that are images, sorted, int64; and by field what the records say of each.

        Raises:
            DataError: the records have no such field.
        """
        with self._mutex:
            state = (len(self._numbers), len(self._records), self.roots)
            if state != self._columns_of:
                self._columns, self._columns_of = {}, state
            for name in fields:
                if name not in self._columns:
                    self._columns[name] = self._column(name)
            rows = np.setdiff1d(np.arange(self.rows), self.dead, assume_unique=True)
            whole = not len(self.dead)
            held = {name: self._columns[name] for name in fields}
        return rows, held if whole else {name: it.take(rows) for name, it in held.items()}

    def _column(self, name: str) -> pa.Array:
        if name not in RECORD.names[:-2]:
            raise DataError(
                f"{name:.60}: found no such field, expected one of {', '.join(RECORD.names[:-2])}"
            )
        kind = RECORD.field(name).type
        parts = [self._table(place)[name] for place in range(len(self._shards))]
        added = pa.array([record.get(name) for record in self._records], kind)
        chunks = [chunk for part in parts for chunk in part.chunks]
        found = pa.chunked_array([*chunks, added], kind).combine_chunks()
        if name not in ("image", "path"):
            return found
        for root, folder in self.roots.folders.items():
            begin, now = f"^{re.escape(root)}/", folder.replace("\\", "\\\\") + "/"
            found = pc.replace_substring_regex(found, pattern=begin, replacement=now)
        return found

    def embeddings(self, rows: Sequence[int]) -> np.ndarray:
        """Some rows, (len(rows), E) float32."""
        return gather(self.blocks, np.array(rows, np.int64))

    def records(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """The records of some rows: `image`, its name, and how to read it again."""
        return [self._record(int(row)) for row in rows]

    def _record(self, row: int) -> dict[str, Any]:
        base = int(self._starts[-1])
        if row >= base:
            return self.roots.current_record(self._records[row - base])
        place = int(np.searchsorted(self._starts, row, side="right")) - 1
        record = self._table(place).slice(row - int(self._starts[place]), 1).to_pylist()[0]
        return self.roots.current_record(record)

    def _table(self, place: int) -> pa.Table:
        """Stored records of a shard's rows; `place` counts the shards that are there."""
        number = self._numbers[place]
        if number not in self._tables:
            table = embedded(read_records(self.path, number))
            if table.num_rows != len(self._shards[place]):
                raise DataError(
                    f"{shard_path(self.path, number)}.parquet: found records of {table.num_rows:,} "
                    f"images, expected {len(self._shards[place]):,}; `nnclip repair "
                    f"{self.path}` makes it again"
                )
            self._tables[number] = table
        return self._tables[number]

    def live(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and record of every image."""
        for shard in range(len(self._shards)):
            records = self._table(shard).to_pylist()
            yield from self._alive(int(self._starts[shard]), records)
        yield from self._alive(int(self._starts[-1]), self._records)

    def _alive(
        self, start: int, records: list[dict[str, Any]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for row, record in enumerate(records, start):
            if row not in self._dead:
                yield row, self.roots.current_record(record)

    def failed_records(self) -> dict[str, dict[str, Any]]:
        """Records of the images that could not be embedded, and were not since, by name."""
        names, found = {record["image"] for _, record in self.live()}, {}
        for number in self._numbers:
            table = read_records(self.path, number)
            for stored in table.filter(table["error"].is_valid()).to_pylist():
                record = self.roots.current_record(stored)
                if record["image"] not in names:
                    found[record["image"]] = record
        return found

    def failures(self) -> list[tuple[str, str]]:
        """Name and error of those images."""
        return [(image, record["error"]) for image, record in self.failed_records().items()]
