"""Embedded collections that can be searched, and the model that embedded each of them.

Axes: E embedding.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.extras import extra
from nnclip.graph.losses import Scorer
from nnclip.search.hits import Answer
from nnclip.search.image_search import ImageSearch
from nnclip.search.query import Query
from nnclip.serve.faults import Refused
from nnclip.service.embedder import Embedder
from nnclip.service.values import echo


class Collections:
    """Collections by name."""

    def __init__(self, places: Sequence[str]) -> None:
        """Open folders or databases.

        Raises:
            DataError: one is no collection.
            ConfigError: two have the same name, or a database cannot be reached.
        """
        self._stores: dict[str, Any] = {}
        self._models: dict[str, str] = {}
        self._fitting: set[tuple[str, str]] = set()
        if not places:
            return
        with extra():
            from nnclip.search.store import is_url, open_store  # needs pyarrow
        for place in places:
            name = place.rsplit("/", 1)[-1] if is_url(place) else Path(place).resolve().name
            name = name.partition("?")[0]
            if name in self._stores:
                raise ConfigError(f"found two collections called {echo(name)}, expected one")
            self._stores[name] = open_store(place)

    def sources(self) -> list[str]:
        """The models that the collections name, each once; "bundled" for the bundled one."""
        names = [store.manifest.model or "bundled" for store in self._stores.values()]
        return list(dict.fromkeys(names))

    def named(self, name: str | None) -> str:
        """A collection's name, the first if none is given; 404 if there is none such."""
        if not self._stores:
            raise Refused(404, "found no collection: start the server with --collection EMB")
        name = name or next(iter(self._stores))
        if name not in self._stores:
            known = ", ".join(self._stores)
            raise Refused(
                404, f"found no collection {echo(name)}, expected one of {known}", "collection"
            )
        return name

    def store(self, name: str) -> Any:
        """Where the embeddings are."""
        return self._stores[name]

    def model_of(self, name: str) -> str | None:
        """The name of the model that embedded a collection, once `match` has found it."""
        return self._models.get(name)

    def match(self, embedders: Sequence[Embedder]) -> None:
        """Find the model of each collection; ConfigError where it is not among these."""
        for name, store in self._stores.items():
            errors = []
            for embedder in embedders:
                try:
                    store.manifest.check_model(embedder.model)
                except ConfigError as error:
                    errors.append(error)
                    continue
                self._models.setdefault(name, embedder.name)
                self._fitting.add((name, embedder.name))
            if name not in self._models:
                raise errors[0]

    def check(self, name: str, embedder: Embedder) -> None:
        """Refuse a query by another model than the collection's."""
        if (name, embedder.name) in self._fitting:
            return
        try:
            self._stores[name].manifest.check_model(embedder.model)
        except ConfigError as error:
            raise Refused(400, str(error), "model") from error
        self._fitting.add((name, embedder.name))

    def search(
        self, name: str, query: Query, rows: Mapping[str, Sequence[np.ndarray]], scorer: Scorer
    ) -> Callable[[int, int], list[Answer]]:
        """Work for `Turns`, whose one value is the answer.

        Args:
            name: of the collection.
            query: the question.
            rows: embeddings of its texts and images, see `Query.combined`.
            scorer: of the model.
        """
        return lambda start, stop: [_found(self._stores[name], query, rows, scorer)]


def _found(
    store: Any, query: Query, rows: Mapping[str, Sequence[np.ndarray]], scorer: Scorer
) -> Answer:
    search = ImageSearch.over(store)
    with store.steady():
        known = [search.known(image) for image in query.of("like")]
        if None in known:
            image = query.of("like")[known.index(None)]
            raise Refused(404, f"like: found no image {echo(image)} in the collection", "like")
        likes = [it for it in known if it is not None]
        try:
            query_E = query.combined({**rows, "like": [vector_E for _, vector_E in likes]})
        except DataError as error:
            raise Refused(400, str(error), "text") from error
        try:
            return search.answer(query, query_E, [row for row, _ in likes], scorer)
        except DataError as error:
            if not query.where:
                raise
            raise Refused(400, f"filters.{error}", "filters") from error
