"""Folders of images that can be searched: embedded once for each model, in the background.

Axes: N images, E embedding.
"""

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.errors import DataError, NnclipError
from nnclip.files import shown, to_name
from nnclip.image import USUAL_DECODING, image_suffixes
from nnclip.image.facts import facts_of
from nnclip.image.skips import USUAL
from nnclip.search import ImageSearch
from nnclip.search.memory import MemoryStore
from nnclip.service.embedder import Embedder
from nnclip.service.images import Place, image_at
from nnclip.service.searched import Hit, Searched, facts_of_record
from nnclip.sources import Ask, Found, read_source

logger = logging.getLogger(__name__)

BATCH = 32


class Index:
    """The images of a collection as one model sees them; grows while it is made.

    Attributes:
        found: searches those that were read so far.
        skipped: files that are no images.
    """

    def __init__(self, paths: Sequence[Place], embed: int) -> None:
        """Begin with nothing; `fill` does the rest. `embed` is E of the model."""
        self._paths = paths
        self._store = MemoryStore(np.empty((0, embed), np.float32), [])
        self.found = ImageSearch.over(self._store)  # keeps no model, which a pool may drop
        self.skipped = 0

    @property
    def ready(self) -> bool:
        """Whether every file was tried."""
        return len(self.found) + self.skipped >= len(self._paths)

    def fill(self, embedder: Embedder) -> None:
        """Read every file; one that is no image is named and left out."""
        for start in range(0, len(self._paths), BATCH):
            batch = self._paths[start : start + BATCH]
            try:
                self._add(batch, embedder)
            except NnclipError:
                for path in batch:
                    self._try(path, embedder)

    def _add(self, paths: Sequence[Place], embedder: Embedder) -> None:
        images = [image_at(path) for path in paths]
        rows_NE = embedder.embed(images)
        facts = (asdict(facts_of(image.read())) for image in images)
        self._store.append(
            rows_NE,
            [
                {"image": name_of(path), "place": path, **each}
                for path, each in zip(paths, facts, strict=True)
            ],
        )

    def _try(self, path: Place, embedder: Embedder) -> None:
        try:
            self._add([path], embedder)
        except NnclipError as error:
            name = path if isinstance(path, Path) else path.name
            logger.warning("%s is left out: %s", shown(name), error)
            self.skipped += 1  # after it was named: whoever finds all read finds that said


def name_of(place: Place) -> str:
    """What an image of a folder is called there, as filters look at it."""
    if isinstance(place, Path):
        return to_name(os.path.abspath(place))
    return to_name(os.path.abspath(place.path)) + (f"/{place.member}" if place.member else "")


class Collection(Searched):
    """The images of a folder, or of another source in `nnclip.sources.READERS`.

    Attributes:
        name: what a visitor calls it.
        decoding: how its images and queries are read.
        sources: the folder.
        paths: all that look like images.
        not_read: how many others there are, by suffix.
    """

    decoding = USUAL_DECODING

    def __init__(self, name: str, folder: Path) -> None:
        """Look which images there are; DataError if there is none."""
        self.name, self.sources = shown(name), [str(folder)]
        if not folder.exists():
            raise DataError(f"{shown(folder)}: found no such folder, expected one with images")
        found = Found()
        samples = read_source(folder, Ask(exclude=USUAL), found)
        self.paths: list[Place] = [Path(it.path) if it.size < 0 else it for it in samples]
        self.not_read = found.not_read
        if not self.paths:
            known = ", ".join(sorted(image_suffixes()))
            raise DataError(f"{shown(folder)}: found no image in it, expected {known}")
        self._indices: dict[tuple[str, str], Index] = {}
        self._lock = threading.Lock()

    def prepare(self, embedder: Embedder) -> Index:
        """The index for a model; what is missing is being made in the background."""
        key = embedder.name, embedder.model.precision
        with self._lock:
            if key not in self._indices:
                self._indices[key] = index = Index(self.paths, embedder.model.config.embed)
                threading.Thread(target=index.fill, args=(embedder,), daemon=True).start()
            return self._indices[key]

    def opened(self, embedder: Embedder) -> ImageSearch:
        """See `Searched`; DataError also if none of the files is an image."""
        index = self.prepare(embedder)
        if not len(index.found) and not index.ready:
            raise DataError(f"the images of {self.name} are being read: ask again in a moment")
        if not len(index.found):
            raise DataError(f"none of the {len(self.paths):,} files in {self.name} is an image")
        return index.found

    def hit(self, record: Any, cosine: float | None = None) -> Hit:
        """See `Searched`."""
        return Hit(record["place"], cosine, record["image"], facts_of_record(record))

    def row(self, search: ImageSearch, image: str) -> tuple[int, np.ndarray] | None:
        """See `Searched`; needs none of the packages of collections on disk."""
        store = search.store
        records = store.records(range(len(store)))
        row = next((row for row, it in enumerate(records) if it["image"] == image), None)
        return None if row is None else (row, store.embeddings([row])[0])

    def first(self, k: int, start: int = 0) -> list[Hit]:
        """See `Searched`."""
        return [Hit(path, None, name_of(path)) for path in self.paths[start : start + k]]

    def __len__(self) -> int:
        return len(self.paths)

    def progress(self, embedder: Embedder) -> str:
        """A sentence on how many images were read; "" once they all were."""
        index = self.prepare(embedder)
        if index.ready:
            return ""
        return f"{len(index.found):,} of {len(self.paths):,} images have been read so far."
