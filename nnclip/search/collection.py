"""An embedded collection in a folder: shards, a log of what changed since, an index.

Rows are counted through the shards, then through the log; a row keeps its number for ever, also
when it is removed.

Axes: N rows, E embedding.
"""

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
from nnclip.search.rows import Growing, Rows
from nnclip.search.shards import (
    embedded,
    missing_shards,
    read_records,
    read_vectors,
    shard_path,
)

with extra():
    import pyarrow as pa


class Collection:
    """Embeddings and records on disk; several processes may read while one writes.

    Attributes:
        path: the folder.
        manifest: its head.
        sources: what `update` looks through.
        banned: names of images that `update` leaves out.
        dead: the removed rows, sorted, int64.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a folder; vectors stay in their files.

        Raises:
            DataError: it is none, is damaged, or embedding it was not finished.
        """
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        if missing := missing_shards(self.path, self.manifest):
            raise DataError(
                f"{path}: {missing:,} of {self.manifest.shards:,} shards are not embedded yet: "
                "run the same `python -m nnclip embed` again, it goes on where it stopped"
            )
        numbers = range(self.manifest.shards)
        read = [read_vectors(self.path, number, self.manifest) for number in numbers]
        self._shards = [rows_NE for rows_NE, _ in read]
        self._starts = np.cumsum([0, *map(len, self._shards)])
        self._tables: dict[int, pa.Table] = {}
        self._added = Growing(self.manifest.embed)
        self._records: list[dict[str, Any]] = []
        starts = self._starts.tolist()
        self._dead = {starts[number] + row for number, (_, dead) in enumerate(read) for row in dead}
        self.dead = np.array(sorted(self._dead), np.int64)
        self._mutex = threading.RLock()
        self.sources, self.banned = list(self.manifest.sources), set[str]()
        self._log = Log(self.path / LOG, self.manifest.embed, self.manifest.dtype)
        self.refresh()

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
        """Take in what was logged since, also by other processes; whether there was anything."""
        with self._mutex:
            before = self._log.end
            for entry in self._log.read():
                self._take(entry)
            return self._log.end > before

    def _take(self, entry: Entry) -> None:
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
        self.banned -= {record["image"] for record in entry.records}
        self.banned |= set(entry.banned)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the collection for changes that belong together: other processes wait.

        What they changed before is taken in first.
        """
        with locked(self.path):
            self.refresh()
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
        with self.changing(), self._mutex:
            gone = [row for row in entry.removed if not 0 <= row < self.rows]
            if gone:
                raise DataError(f"row {gone[0]}: found {self.rows} rows, expected a lower number")
            first = self.rows
            self._log.append(replace(entry, first=first))
            self._log.acknowledge()
            self._take(entry)
        return range(first, self.rows)

    def records(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """The records of some rows: `image`, its name, and how to read it again."""
        return [self._record(int(row)) for row in rows]

    def _record(self, row: int) -> dict[str, Any]:
        base = int(self._starts[-1])
        if row >= base:
            return self._records[row - base]
        shard = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._table(shard).slice(row - int(self._starts[shard]), 1).to_pylist()[0]

    def _table(self, shard: int) -> pa.Table:
        if shard not in self._tables:
            table = embedded(read_records(self.path, shard))
            if table.num_rows != len(self._shards[shard]):
                raise DataError(
                    f"{shard_path(self.path, shard)}.parquet: found records of {table.num_rows:,} "
                    f"images, expected {len(self._shards[shard]):,}; `python -m nnclip repair "
                    f"{self.path}` makes it again"
                )
            self._tables[shard] = table
        return self._tables[shard]

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
                yield row, record

    def failed_records(self) -> dict[str, dict[str, Any]]:
        """Records of the images that could not be embedded, and were not since, by name."""
        names, found = {record["image"] for _, record in self.live()}, {}
        for shard in range(len(self._shards)):
            table = read_records(self.path, shard)
            for record in table.filter(table["error"].is_valid()).to_pylist():
                if record["image"] not in names:
                    found[record["image"]] = record
        return found

    def failures(self) -> list[tuple[str, str]]:
        """Name and error of those images."""
        return [(image, record["error"]) for image, record in self.failed_records().items()]
