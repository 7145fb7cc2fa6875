"""How much of what exact search finds an index finds, and the cheapest setting that finds enough.

Recall is measured with queries of both kinds that people ask: images (rows of the collection,
each of which is no answer to itself) and texts. Texts lie apart from images in CLIP's space, and
an index that finds nine of ten images for an image may find fewer for a text.

Axes: Q queries, E embedding.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nnclip.search.exact import exact_neighbours
from nnclip.search.rows import Rows, gather

logger = logging.getLogger(__name__)

Find = Callable[[np.ndarray, int], np.ndarray]  # query (E,), k -> rows, best first

NEAREST = 10  # of recall@10
IMAGES = 512  # queries that are rows, at most


@dataclass(frozen=True)
class Queries:
    """Queries whose nearest rows are known.

    Attributes:
        name: of their kind.
        vectors: (Q, E) float32.
        itself: (Q,) the row that a query is, -1 for none.
        nearest: (Q, 10) the rows that exact search finds.
    """

    name: str
    vectors: np.ndarray
    itself: np.ndarray
    nearest: np.ndarray

    def halves(self) -> tuple["Queries", "Queries"]:
        """One half to choose a setting with, one to measure what was chosen."""

        def part(start: int) -> Queries:
            step = slice(start, None, 2)
            return Queries(self.name, self.vectors[step], self.itself[step], self.nearest[step])

        return part(0), part(1)

    def recall(self, find: Find) -> float:
        """Share of the nearest rows that `find` finds."""
        hits = 0
        for query_E, itself, nearest in zip(self.vectors, self.itself, self.nearest, strict=True):
            found = find(query_E, nearest.shape[0] + 1)
            found = found[found != itself][: len(nearest)]
            hits += len(np.intersect1d(found, nearest))
        return hits / self.nearest.size


def image_queries(blocks: Sequence[Rows], dead: np.ndarray, seed: int = 1) -> Queries:
    """Rows of the collection as queries."""
    alive = np.setdiff1d(np.arange(sum(map(len, blocks))), dead, assume_unique=True)
    chosen = np.random.default_rng(seed).permutation(alive)[:IMAGES]
    vectors_QE = gather(blocks, chosen)
    k = min(NEAREST, len(alive) - 1)
    found = exact_neighbours(blocks, vectors_QE, k + 1, dead)
    others = [row[row != itself][:k] for row, itself in zip(found, chosen, strict=True)]
    return Queries("images", vectors_QE, chosen, np.stack(others))


def text_queries(blocks: Sequence[Rows], dead: np.ndarray, vectors_QE: np.ndarray) -> Queries:
    """Embedded texts as queries."""
    k = min(NEAREST, sum(map(len, blocks)) - len(dead))
    nearest = exact_neighbours(blocks, vectors_QE, k, dead)
    return Queries("texts", vectors_QE, np.full(len(vectors_QE), -1), nearest)


def choose_setting(
    settings: Sequence[int], wanted: float, kinds: Sequence[Queries], finder: Callable[[int], Find]
) -> tuple[int, dict[str, float]]:
    """The cheapest setting that is good enough.

    Args:
        settings: from the cheapest to the dearest.
        wanted: recall that every kind of query has to reach, with both of its halves.
        kinds: the queries.
        finder: gives a search with a setting.

    Returns:
        The setting, the dearest one if none is enough, and the recall of the second half, which
        had no part in choosing until the first half was content, by kind.
    """
    halves = [queries.halves() for queries in kinds]
    setting, reached = settings[-1], dict[str, float]()
    for setting in settings:
        find = finder(setting)
        if setting != settings[-1] and min(one.recall(find) for one, _ in halves) < wanted:
            continue
        reached = {other.name: round(other.recall(find), 4) for _, other in halves}
        if min(reached.values()) >= wanted:
            return setting, reached
    logger.warning("no setting reaches a recall of %g, the best: %s", wanted, reached)
    return setting, reached
