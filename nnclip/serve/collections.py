"""Embedded collections that can be searched, and the model that embedded each of them.

Axes: E embedding.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.errors import ConfigError
from nnclip.extras import extra
from nnclip.graph.losses import Scorer
from nnclip.serve.faults import Refused
from nnclip.service.embedder import Embedder
from nnclip.service.values import echo, kind

MOST_LOOKED_AT = 100_000  # records that are compared with filters
TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "prefix": lambda value, wanted: isinstance(value, str) and value.startswith(wanted),
    "contains": lambda value, wanted: isinstance(value, str) and wanted in value,
    "min": lambda value, wanted: _is_number(value) and value >= wanted,
    "max": lambda value, wanted: _is_number(value) and value <= wanted,
}


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
        self, name: str, query_E: np.ndarray, k: int, filters: Mapping[str, Any], scorer: Scorer
    ) -> Callable[[int, int], list[Any]]:
        """Work for `Turns`: the one value is the hits, and how many records were looked at."""
        checked = checked_filters(filters)
        return lambda start, stop: [self._hits(self._stores[name], query_E, k, checked, scorer)]

    def _hits(
        self, store: Any, query_E: np.ndarray, k: int, filters: Mapping[str, Any], scorer: Scorer
    ) -> tuple[list[dict[str, Any]], int]:
        """The nearest images that pass all filters; more are looked at until there are k."""
        amount = k
        while True:
            found = store.nearest(query_E, amount, scorer.scale)
            records = store.records(found.rows.tolist())
            unknown = [field for field in filters if records and field not in records[0]]
            if unknown:
                known = ", ".join(sorted(records[0]))
                raise Refused(
                    400, f"filters: found {echo(unknown[0])}, expected one of {known}", "filters"
                )
            passed = [i for i, record in enumerate(records) if matches(record, filters)][:k]
            all_seen = amount >= min(len(store), MOST_LOOKED_AT)
            if len(passed) == k or all_seen or not filters:
                break
            amount = min(4 * amount, len(store), MOST_LOOKED_AT)
        probabilities = scorer.among(found.cosines, found.log_total)
        hits = [
            {
                "image": records[i]["image"],
                "cosine": float(found.cosines[i]),
                "probability": float(probabilities[i]),
                "record": records[i],
            }
            for i in passed
        ]
        return hits, len(records)


def checked_filters(filters: Mapping[str, Any]) -> Mapping[str, Any]:
    """The filters of a request; 400 for a test that there is not, or of another type."""
    for field, wanted in filters.items():
        if not isinstance(wanted, dict):
            continue
        for test, value in wanted.items():
            text = test in ("prefix", "contains")
            if test not in TESTS or not (isinstance(value, str) if text else _is_number(value)):
                raise Refused(
                    400,
                    f"filters.{field:.60}: found {echo(test)} with {kind(value)}, expected prefix "
                    "or contains with a text, min or max with a number",
                    "filters",
                )
    return filters


def matches(record: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Whether a record passes all filters.

    >>> matches({"image": "a/1.jpg", "bytes": 10}, {"image": {"prefix": "a/"}, "bytes": [10, 20]})
    True
    """
    return all(_passes(record.get(field), wanted) for field, wanted in filters.items())


def _passes(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return all(TESTS[test](value, bound) for test, bound in wanted.items())
    return value in wanted if isinstance(wanted, list) else bool(value == wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
