"""Where embeddings are kept for good and searched: what every such place offers, and folders.

Axes: N rows, E embedding.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nnclip.errors import DataError
from nnclip.search.approximate import Approximate
from nnclip.search.collection import Collection
from nnclip.search.exact import Exact, Found
from nnclip.search.index import FILE as INDEX
from nnclip.search.index import IndexCard, Texts, build_index, open_searcher, read_card
from nnclip.search.log import Entry
from nnclip.search.manifest import Manifest
from nnclip.search.memory import Store
from nnclip.search.roots import Roots
from nnclip.search.rows import NO_ROWS, Rows

logger = logging.getLogger(__name__)

STALE = 0.2  # share of rows added since the index was built, above which a new one is advised
URLS = ("postgresql://", "postgres://")


class LastingStore(Store, Protocol):
    """A place that outlives the process and can be changed.

    Attributes:
        manifest: by what it was embedded.
        sources: what `update` looks through.
        roots: where the folders are that names begin in.
        exclude: patterns of what the sources leave out; None for nothing.
    """

    manifest: Manifest
    sources: list[str]
    roots: Roots
    exclude: tuple[str, ...] | None

    @property
    def banned(self) -> set[str]:
        """Names of images that `update` leaves out."""

    def live(self) -> Iterable[tuple[int, dict[str, Any]]]:
        """Number and record of every image."""

    def changing(self, whole: bool = True) -> AbstractContextManager[None]:
        """Hold the place for changes that belong together: others that change it wait.

        Args:
            whole: whether all images must be embedded by now.
        """

    def append(self, entry: Entry) -> Sequence[int]:
        """Add and remove, at once and for good; the numbers of the new rows."""

    def vectors(self) -> tuple[Sequence[Rows], np.ndarray]:
        """Arrays that together are all rows, and the rows that do not count."""

    def build_index(self, kind: str, recall: float, texts: Texts | None) -> IndexCard:
        """Make searching fast; see `nnclip.search.index.build_index`."""

    def index_card(self) -> IndexCard | None:
        """The card of the index; None without an index."""


class FolderStore(Collection):
    """A collection in a folder, searched by its index, or exactly where it has none."""

    def __init__(self, path: str | Path, exact: bool = False) -> None:
        """Open it; `exact` looks at every row whatever index there is."""
        self._searcher: Exact | Approximate | None = None
        self._only_exact, self._held = exact, False
        super().__init__(path)
        self._index_seen: int | None = None

    def vectors(self) -> tuple[list[Rows], np.ndarray]:
        """See `LastingStore`."""
        return self.blocks, self.dead

    def build_index(self, kind: str, recall: float, texts: Texts | None = None) -> IndexCard:
        """See `LastingStore`."""
        self.check_whole()
        return build_index(self, kind, recall, texts)

    @contextmanager
    def steady(self) -> Iterator[None]:
        """See `Store`; takes in first what other processes have changed."""
        self.refresh()
        if not self.waiting:
            yield
            return
        with self._mutex:
            self._held = True
            try:
                yield
            finally:
                self._held = False

    def nearest(
        self, query_E: np.ndarray, k: int, scale: float, left_out: np.ndarray = NO_ROWS
    ) -> Found:
        """See `Store`; takes in first what other processes have changed."""
        if not self._held:
            self.refresh()
        with self._mutex:
            blocks, dead, searcher = self.blocks, self.dead, self._current_searcher()
        if isinstance(searcher, Exact):
            return searcher.nearest(query_E, k, scale, np.asarray(blocks[-1]), dead, left_out)
        return searcher.nearest(query_E, k, scale, blocks, dead, left_out)

    def index_card(self) -> IndexCard | None:
        """See `LastingStore`."""
        return read_card(self.path)

    def _open_shards(self) -> bool:
        found = super()._open_shards()
        if found:
            self._searcher = None
        return found

    def _current_searcher(self) -> Exact | Approximate:
        """What searches, made when it is first needed and when the index was replaced."""
        try:
            changed = 0 if self._only_exact else os.stat(self.path / INDEX).st_mtime_ns
        except FileNotFoundError:
            changed = 0
        if self._searcher is None or changed != self._index_seen:
            self._searcher, self._index_seen = self._new_searcher(), changed
        return self._searcher

    def _new_searcher(self) -> Exact | Approximate:
        card = None if self._only_exact or self.waiting else read_card(self.path)
        if card is None or card.kind == "exact":
            return Exact(self.blocks)
        added = self.rows - card.rows
        if added > STALE * card.rows:
            logger.warning(
                "%s: %s images were added since the index was built; `nnclip index` "
                "makes searching faster again",
                self.path,
                f"{added:,}",
            )
        try:
            return open_searcher(self.path, card, self.rows)
        except DataError:
            if read_card(self.path) == card:
                raise
            return self._new_searcher()  # it was replaced meanwhile


def is_url(place: str | Path) -> bool:
    """Whether a place is a database rather than a folder."""
    return str(place).startswith(URLS)


def open_store(place: str | Path, exact: bool = False) -> Any:
    """The collection in a folder, or in a PostgreSQL database (`postgresql://...`).

    Args:
        place: it.
        exact: search exactly, whatever index there is.

    Raises:
        DataError: there is no collection.
        ConfigError: the database cannot be reached, or psycopg is not installed.
    """
    if is_url(place):
        from nnclip.search.postgres import PostgresStore  # psycopg is optional

        return PostgresStore(str(place), exact)
    return FolderStore(place, exact)
