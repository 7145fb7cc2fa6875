"""Collections that `nnclip embed` made: opened as they are, nothing is embedded.

Axes: E embedding.
"""

import logging
import threading
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from nnclip.errors import NnclipError
from nnclip.extras import extra
from nnclip.files import shown
from nnclip.image import NotRead
from nnclip.search import ImageSearch
from nnclip.service.collection import Collection
from nnclip.service.embedder import Embedder
from nnclip.service.images import Place
from nnclip.service.searched import Hit, Searched, facts_of_record

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"  # by which a folder is told to be a collection
URLS = ("postgresql://", "postgres://")


class EmbeddedCollection(Searched):
    """A collection on disk or in a database, searched by its index; others may change it meanwhile.

    Attributes:
        name: what a visitor calls it.
        model: the file or published name of the model that embedded it; "" for the bundled one.
        decoding: how its images were read, and queries are.
        not_read: what was passed over when it was listed.
    """

    def __init__(self, place: str) -> None:
        """Open it.

        Raises:
            DataError: a damaged collection.
            ConfigError: a database that cannot be reached.
        """
        with extra():
            from nnclip.search.store import open_store  # needs FAISS and pyarrow
        self._store = open_store(place)
        manifest = self._store.manifest
        self.name = shown(Path(place.partition("#")[2] or place).name)
        self.model, self.decoding = manifest.model, manifest.decoding
        self.not_read = NotRead()
        self.not_read.update(manifest.not_read)
        self._found = ImageSearch.over(self._store)
        self._fitting: set[str] = set()
        self._mutex = threading.Lock()

    def prepare(self, embedder: Embedder) -> None:
        """Nothing is to be done; ConfigError if another model embedded the collection."""
        with self._mutex:
            if embedder.name not in self._fitting:
                self._store.manifest.check_model(embedder.model)
                self._fitting.add(embedder.name)

    def warm(self) -> None:
        """Read what a first question needs; what cannot be read is told to whoever asks."""
        try:
            self.first(1)
            self._found.nearest(np.eye(1, self._store.manifest.embed, dtype=np.float32)[0], 1)
        except NnclipError as error:
            logger.warning("%s: %s", self.name, error)

    @property
    def sources(self) -> list[str]:  # type: ignore[override]
        """What it was made of, as it is known now."""
        return list(self._store.sources)

    def opened(self, embedder: Embedder) -> ImageSearch:
        """See `Searched`; errors as `prepare`."""
        self.prepare(embedder)
        return self._found

    def hit(self, record: Any, cosine: float | None = None) -> Hit:
        """See `Searched`."""
        return Hit(place_of(record), cosine, record["image"], facts_of_record(record))

    def row(self, search: ImageSearch, image: str) -> tuple[int, np.ndarray] | None:
        """See `Searched`."""
        return search.known(image)

    def first(self, k: int, start: int = 0) -> list[Hit]:
        """See `Searched`."""
        with self._store.steady():
            rows, _ = self._store.columns(["image"])
            records = self._store.records(rows[start : start + k].tolist())
        return [self.hit(record) for record in records]

    def __len__(self) -> int:
        return len(self._store)

    def progress(self, embedder: Embedder) -> str:
        """A sentence on how many images are embedded; "" once they all are."""
        self.prepare(embedder)
        waiting = getattr(self._store, "waiting", 0)
        if not waiting:
            return ""
        return f"{len(self._store):,} images are embedded so far, {waiting:,} are not yet."


AnyCollection: TypeAlias = Collection | EmbeddedCollection


def place_of(record: dict[str, Any]) -> Place:
    """Where the image of a record lies."""
    with extra():
        from nnclip.search.shards import item_of
    sample = item_of(record).sample
    return sample if sample.form or sample.size >= 0 else Path(sample.path)


def open_collection(place: str) -> AnyCollection:
    """The images of a folder or another source, or a collection that was embedded.

    Raises:
        DataError: no such source, no image in it, or a damaged collection.
        ConfigError: a database that cannot be reached.
    """
    if place.startswith(URLS) or (Path(place) / MANIFEST).is_file():
        return EmbeddedCollection(place)
    return Collection(Path(place).resolve().name, Path(place))
