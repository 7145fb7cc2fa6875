"""Groups of images that are alike, each named by the words that fit it and no other group.

Axes: N rows, K clusters, E embedding, W words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnclip.embeddings import unit
from nnclip.errors import ConfigError
from nnclip.search.rows import Rows, gather

FITTED = 50_000  # rows that centres are found by; all are assigned
CHUNK = 8192  # rows that are assigned at once
ROUNDS = 50
MOST = 24  # clusters, unless a number is asked for
NAMES = 3  # words of a cluster
SEED = 0


@dataclass(frozen=True)
class Clusters:
    """A division of rows.

    Attributes:
        rows: (N,) int64, numbers of the rows, ascending.
        of: (N,) int64, the cluster of each; 0 is the largest.
        centres: (K, E) float32 of unit length.
        cosines: (N,) float32, of each row with its centre.
    """

    rows: np.ndarray
    of: np.ndarray
    centres: np.ndarray
    cosines: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """(K,) rows of each cluster."""
        return np.bincount(self.of, minlength=len(self.centres))

    def typical(self, cluster: int, count: int) -> np.ndarray:
        """Numbers of the rows of a cluster that are nearest to its centre."""
        inside = np.flatnonzero(self.of == cluster)
        return self.rows[inside[np.argsort(-self.cosines[inside], kind="stable")[:count]]]


def usual_count(rows: int) -> int:
    """How many clusters are made of so many rows where no number is asked for."""
    return min(max(round((rows / 2) ** 0.5), 1), MOST)


def clusters(blocks: Sequence[Rows], alive: np.ndarray, count: int | None = None) -> Clusters:
    """Divide rows by spherical k-means.

    Args:
        blocks: arrays (n, E) of unit vectors that together are all rows.
        alive: numbers of the rows that count, ascending, at least one.
        count: K; None for `usual_count`.

    Raises:
        ConfigError: K below 1, or above the number of rows.

    Source: Dhillon and Modha, Concept Decompositions for Large Sparse Text Data Using Clustering
    (2001); the start as in Arthur and Vassilvitskii, k-means++ (2007).
    """
    wanted = usual_count(len(alive)) if count is None else count
    if not 1 <= wanted <= len(alive):
        raise ConfigError(f"found {wanted} clusters of {len(alive):,} images, expected 1 to those")
    rng = np.random.default_rng(SEED)
    some = alive
    if len(alive) > FITTED:
        some = np.sort(rng.choice(alive, FITTED, replace=False))
    centres_KE = _centres(gather(blocks, some), wanted, rng)
    of, cosines = np.empty(len(alive), np.int64), np.empty(len(alive), np.float32)
    for at in range(0, len(alive), CHUNK):
        fit_nK = gather(blocks, alive[at : at + CHUNK]) @ centres_KE.T
        of[at : at + CHUNK], cosines[at : at + CHUNK] = fit_nK.argmax(1), fit_nK.max(1)
    order = np.argsort(-np.bincount(of, minlength=wanted), kind="stable")
    place = np.argsort(order)
    return Clusters(alive, place[of], centres_KE[order], cosines)


def _centres(rows_NE: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(K, E) float32 of unit length."""
    centres_KE = _start(rows_NE, count, rng)
    before = np.full(len(rows_NE), -1)
    for _ in range(ROUNDS):
        fit_NK = rows_NE @ centres_KE.T
        of = fit_NK.argmax(1)
        if (of == before).all():
            break
        before = of
        sums_KE = np.zeros_like(centres_KE)
        np.add.at(sums_KE, of, rows_NE)
        empty = np.flatnonzero(np.bincount(of, minlength=count) == 0)
        # what fits its centre worst begins another
        sums_KE[empty] = rows_NE[np.argsort(fit_NK.max(1))[: len(empty)]]
        centres_KE = unit(sums_KE)
    return centres_KE


def _start(rows_NE: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """K rows that lie apart."""
    chosen = [int(rng.integers(len(rows_NE)))]
    far_N = np.full(len(rows_NE), np.inf)
    for _ in range(count - 1):
        far_N = np.minimum(far_N, np.maximum(1 - rows_NE @ rows_NE[chosen[-1]], 0))
        far_N[chosen] = 0
        if not far_N.sum():  # the others are copies
            chosen.append(next(n for n in range(len(rows_NE)) if n not in chosen))
            continue
        chosen.append(int(rng.choice(len(rows_NE), p=far_N / far_N.sum())))
    return rows_NE[chosen].astype(np.float32)


def words_of(
    centres_KE: np.ndarray, words_WE: np.ndarray, words: Sequence[str], count: int = NAMES
) -> list[list[str]]:
    """For each cluster, the words that fit it better than the other clusters, the best first.

    Args:
        centres_KE: of unit length.
        words_WE: embeddings of the words, of unit length.
        words: W of them.
        count: words of a cluster.
    """
    fit_KW = centres_KE @ words_WE.T
    if len(fit_KW) > 1:
        fit_KW = fit_KW - fit_KW.mean(0)
    best_KW = np.argsort(-fit_KW, axis=1, kind="stable")[:, :count]
    return [[words[word] for word in row] for row in best_KW.tolist()]
