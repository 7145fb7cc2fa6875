"""What a visitor looks for in a collection, and what all collections share to find it.

Axes: E embedding.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from nnclip.errors import DataError
from nnclip.files import shown, to_name
from nnclip.image import Decoding
from nnclip.json_text import brief
from nnclip.search import ImageSearch
from nnclip.search.filters import Filter, read_filters
from nnclip.search.query import Term, read_query
from nnclip.service.embedder import Embedder
from nnclip.service.images import GONE, ImageSource, Place
from nnclip.service.limits import checked_texts

FACTS = ("taken", "camera", "width", "height")


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Attributes:
        path: where it lies.
        score: its cosine with what was asked, if anything was.
        image: its name in the collection.
        facts: what is known of it, by field.
    """

    path: Place
    score: float | None = None
    image: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """Of the file, as it can be shown."""
        return shown(PurePath(self.path.name).name)


@dataclass(frozen=True)
class Wanted:
    """What to look for.

    Attributes:
        text: what images should show, with weights and signs or without (`nnclip.search.query`).
        image: what they should be like.
        like: the name of an image of the collection that they should be like.
        where: filters (`nnclip.search.filters`); the folders of "under" begin in the sources.
        min_cosine: images below it are not found.
        start: how many of the best are left out, because they are known already.
        k: how many more, at most.
    """

    text: str = ""
    image: ImageSource | None = None
    like: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)
    min_cosine: float | None = None
    start: int = 0
    k: int = 12

    @property
    def stop(self) -> int:
        """How many hits `start` and `k` need."""
        return self.start + self.k

    @property
    def terms(self) -> tuple[Term, ...]:
        """What is looked for; nothing where only filters choose."""
        texts = checked_texts([self.text]) if self.text.strip() else []
        images = [] if self.image is None else [self.image]
        like = [self.like] if self.like else []
        return read_query(texts, images=images, like=like).terms if texts + images + like else ()


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        hits: the best first.
        images: how many were looked at, or chosen from.
        passed: how many of them pass the filters.
        silent: fields that filters look at -> how many images say nothing there.
    """

    hits: list[Hit]
    images: int
    passed: int
    silent: Mapping[str, int] = field(default_factory=dict)


class Searched(ABC):
    """A collection, searched for visitors.

    Attributes:
        name: what a visitor calls it.
        decoding: how its images were read, and queries are.
        sources: folders and files that the owner named.
    """

    name: str
    decoding: Decoding
    sources: Sequence[str]

    @abstractmethod
    def opened(self, embedder: Embedder) -> ImageSearch:
        """What searches it; DataError while nothing was read, ConfigError for another model."""

    @abstractmethod
    def hit(self, record: Any, cosine: float | None = None) -> Hit:
        """The image of a record."""

    @abstractmethod
    def row(self, search: ImageSearch, image: str) -> tuple[int, np.ndarray] | None:
        """Row and embedding (E,) of an image by its name; None if it is not there any more."""

    @abstractmethod
    def first(self, k: int, start: int = 0) -> list[Hit]:
        """Some images, for who has not asked yet."""

    def search(self, embedder: Embedder, query_E: np.ndarray, k: int) -> list[Hit]:
        """The images closest to an embedding of unit length, best first; errors as `opened`."""
        query = read_query(terms=[Term("vector", query_E)], k=k)
        answer = self.opened(embedder).find(query)
        return [self.hit(hit.record, hit.cosine) for hit in answer.hits]

    def find(self, embedder: Embedder, wanted: Wanted) -> Found:
        """The images that fit best; without anything to look for, those that pass the filters.

        Raises:
            DataError: a text, an image or a filter that cannot be, an image of the collection that
                is gone, or nothing was read yet.
            ConfigError: another model embedded the collection.
        """
        where = self._placed(wanted.where)
        if not wanted.terms:
            return self._listed(embedder, read_filters(where), wanted)
        query = read_query(
            terms=wanted.terms, where=where, k=wanted.stop, min_cosine=wanted.min_cosine
        )
        search, texts, images = self.opened(embedder), query.of("text"), query.of("image")
        rows = {
            "text": list(embedder.texts(texts)) if texts else [],
            "image": list(embedder.images(images, self.decoding)) if images else [],
        }
        with search.store.steady():
            like = [self.row(search, name) for name in query.of("like")]
            known = [it for it in like if it is not None]
            if len(known) < len(like):
                raise DataError(GONE)
            query_E = query.combined({**rows, "like": [vector_E for _, vector_E in known]})
            itself = [row for row, _ in known]
            answer = search.answer(query, query_E, itself, embedder.model.scorer)
        hits = [self.hit(hit.record, hit.cosine) for hit in answer.hits[wanted.start :]]
        passed = (
            answer.images if not query.where else min(answer.passed + len(known), answer.images)
        )
        return Found(hits, answer.images, passed, answer.silent)

    def _listed(self, embedder: Embedder, filters: Sequence[Filter], wanted: Wanted) -> Found:
        """The images that pass filters, in the collection's order."""
        if not filters:
            hits = self.first(wanted.k, wanted.start)
            return Found(hits, len(self), len(self))
        from nnclip.search.passing import passing  # needs pyarrow

        store = self.opened(embedder).store
        names = list(dict.fromkeys(name for it in filters for name in it.fields))
        with store.steady():
            rows, columns = store.columns(names)
            chosen = rows[passing(filters, columns, len(rows))]
            records = store.records(chosen[wanted.start : wanted.stop].tolist())
        silent = {name: columns[name].null_count for name in names}
        return Found([self.hit(it) for it in records], len(rows), len(chosen), silent)

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are."""

    def _placed(self, where: Mapping[str, Any]) -> dict[str, Any]:
        """Filters whose folders begin in the sources: a visitor names no place of the server."""
        if "under" not in where:
            return dict(where)
        folder = str(where["under"]).strip().strip("/")
        inside = os.path.normpath(folder)
        if inside.startswith("..") or "\0" in folder:
            raise DataError(f"under: found {brief(folder)}, expected a folder of this collection")
        places = [os.path.abspath(it) for it in self.sources]
        begin = [*places, *map(os.path.dirname, places)]
        return {**where, "under": [os.path.join(it, inside) for it in begin]}

    def within(self, image: str) -> str:
        """A name as visitors see it: from the name of its source on."""
        for source in self.sources:
            above = to_name(os.path.dirname(os.path.abspath(source))).rstrip("/") + "/"
            if image.startswith(above):
                return shown(image.removeprefix(above))
        return shown(PurePath(image).name)

    def holds(self, place: Place) -> bool:
        """Whether an image's file lies where the collection says, or at least in its sources."""
        path = os.fspath(place) if isinstance(place, Path) else place.path
        real = os.path.realpath(path)
        if real == os.path.abspath(path):
            return True
        folders = [os.path.realpath(source) for source in self.sources]
        return any(real == it or real.startswith(it.rstrip("/") + "/") for it in folders)


def facts_of_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of its image that a visitor may want to know."""
    return {name: record[name] for name in FACTS if record.get(name) is not None}
