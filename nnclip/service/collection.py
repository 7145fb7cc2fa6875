"""Folders of pictures that can be searched: embedded once for each model, in the background.

Axes: N pictures, E embedding.
"""

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnclip.errors import DataError, NnclipError
from nnclip.service.embedder import Embedder

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
BATCH = 32


@dataclass(frozen=True)
class Hit:
    """A picture that was found, and its cosine with what was asked, if anything was."""

    path: Path
    score: float | None = None


@dataclass
class Index:
    """The pictures of a collection as one model sees them; grows while it is made."""

    total: int
    paths: list[Path] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)
    skipped: int = 0

    @property
    def ready(self) -> bool:
        """Whether every picture was tried."""
        return len(self.paths) + self.skipped >= self.total


class Collection:
    """A folder of pictures.

    Attributes:
        name: what the page calls it.
        paths: all files in it and below that look like pictures.
    """

    def __init__(self, name: str, folder: Path) -> None:
        """Look which files there are; DataError if there is no picture."""
        self.name = name
        if not folder.is_dir():
            raise DataError(f"{folder}: found no such folder, expected one with pictures")
        self.paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not self.paths:
            raise DataError(f"{folder}: found no picture in it, expected {', '.join(SUFFIXES)}")
        self._indices: dict[tuple[str, str], Index] = {}
        self._lock = threading.Lock()

    def prepare(self, embedder: Embedder) -> Index:
        """The index for a model; what is missing is being made in the background."""
        key = embedder.name, embedder.model.precision
        with self._lock:
            if key not in self._indices:
                self._indices[key] = index = Index(len(self.paths))
                work = threading.Thread(target=_fill, args=(index, self.paths, embedder))
                work.daemon = True
                work.start()
            return self._indices[key]

    def search(self, embedder: Embedder, query_E: np.ndarray, amount: int) -> list[Hit]:
        """The pictures closest to an embedding of unit length, best first, of those read so far.

        Raises:
            DataError: none was read yet, or none can be.
        """
        index = self.prepare(embedder)
        rows = list(index.rows)
        if not rows and not index.ready:
            raise DataError(f"the pictures of {self.name} are being read: ask again in a moment")
        if not rows:
            raise DataError(f"none of the {index.total:,} files in {self.name} is a picture")
        scores_N = np.concatenate(rows) @ query_E
        best = np.argsort(-scores_N, kind="stable")[:amount]
        return [Hit(index.paths[i], float(scores_N[i])) for i in best]

    def first(self, amount: int) -> list[Hit]:
        """Some pictures, for who has not asked yet."""
        return [Hit(path) for path in self.paths[:amount]]

    def progress(self, embedder: Embedder) -> str:
        """A sentence on how many pictures were read; "" once they all were."""
        index = self.prepare(embedder)
        if index.ready:
            return ""
        return f"{len(index.paths):,} of {index.total:,} pictures have been read so far."


def _fill(index: Index, paths: list[Path], embedder: Embedder) -> None:
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        try:
            rows, kept = embedder.embed_files(batch), batch
        except NnclipError:
            rows, kept = _one_by_one(batch, embedder)
        index.skipped += len(batch) - len(kept)
        index.paths += kept  # before their rows: whoever finds a row also finds its path
        index.rows += [rows] if kept else []


def _one_by_one(batch: list[Path], embedder: Embedder) -> tuple[np.ndarray, list[Path]]:
    """The rows of those files that can be read."""
    rows, kept = [], []
    for path in batch:
        try:
            rows.append(embedder.embed_files([path]))
            kept.append(path)
        except NnclipError as error:
            logger.warning("%s is left out: %s", path, error)
    return (np.concatenate(rows) if rows else np.empty((0, 0), np.float32)), kept
