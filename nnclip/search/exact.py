"""Exact search: a query against every row, by NumPy's BLAS.

Axes: N rows, E embedding, Q queries.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from nnclip.host import available_memory, cores
from nnclip.search.rows import AT_ONCE, NO_ROWS, Rows, widened

MAXIMA = 256  # rows of which first only the best one is looked at
NEGLIGIBLE = 32.0  # a term below exp(-32) of the largest: a million of them are 1e-8 of it
STRIP = 4096  # rows that are compared with many queries at once
TASK = 8 * AT_ONCE  # rows that one thread takes
SHARE = 0.5  # of the memory that is free, which rows may take as float32
CORES = cores()


@dataclass(frozen=True)
class Found:
    """What a query found.

    Attributes:
        rows: the nearest images, best first.
        cosines: with each of them, float32.
        log_total: log of the sum of exp(scale * cosine) over all images, so that
            exp(scale * cosine - log_total) is an image's probability among all.
        exact: whether these are the nearest without doubt and the sum was taken over all; else the
            sum is an estimate.
        percentiles: with each of them, how many per cent of the other images, also of those that
            are left out, have a lower cosine; NaN where there is one image.
    """

    rows: np.ndarray
    cosines: np.ndarray
    log_total: float
    exact: bool
    percentiles: np.ndarray


class Exact:
    """Rows held as float32 where memory allows, else converted strip by strip for each query."""

    def __init__(self, blocks: Sequence[Rows]) -> None:
        """Take arrays (n, E) that together are all rows; the last one may be given again later."""
        self._fixed: list[Rows] = list(blocks[:-1])
        if sum(block.size for block in self._fixed) * 4 < SHARE * available_memory():
            self._fixed = [as_float32(self._fixed)] if self._fixed else []

    def nearest(
        self,
        query_E: np.ndarray,
        k: int,
        scale: float,
        grown: np.ndarray,
        dead: np.ndarray,
        left_out: np.ndarray = NO_ROWS,
    ) -> Found:
        """The rows closest to a query.

        Args:
            query_E: float32, of unit length.
            k: how many.
            scale: of the softmax.
            grown: the last block as it is now.
            dead: rows that do not count.
            left_out: rows that are not to be found.
        """
        scores_N = scores([*self._fixed, grown], query_E)
        scores_N[dead] = -np.inf
        others = np.sort(np.delete(scores_N, dead)) if len(left_out) else None
        scores_N[left_out] = -np.inf
        count = int(np.isfinite(scores_N).sum()) if len(left_out) else len(scores_N) - len(dead)
        rows = best(scores_N, min(k, count))
        cosines = scores_N[rows]
        below = ranked(len(rows), count) if others is None else standing(cosines, others)
        return Found(rows, cosines, log_sum(scores_N, scale), True, below)


def ranked(found: int, images: int) -> np.ndarray:
    """Percentiles of the nearest images, the best first."""
    if images < 2:
        return np.full(found, np.nan)
    return 100 * (images - 1 - np.arange(found)) / (images - 1)


def standing(cosines: np.ndarray, sorted_scores: np.ndarray, images: int = 0) -> np.ndarray:
    """The percentile of a score: per cent of the other images with a lower one.

    Args:
        cosines: of the images.
        sorted_scores: of all images, or of some that were drawn evenly, ascending.
        images: how many there are, where some were drawn; their own score is then not among them.
    """
    below = np.searchsorted(sorted_scores, cosines, side="left")
    others = len(sorted_scores) if images > len(sorted_scores) else len(sorted_scores) - 1
    return 100 * below / others if others > 0 else np.full(len(cosines), np.nan)


def scores(blocks: Sequence[Rows], query_E: np.ndarray) -> np.ndarray:
    """All rows times a query, (N,) float32."""
    starts = np.cumsum([0, *map(len, blocks)])
    found, tasks = np.empty(starts[-1], np.float32), []
    for block, start in zip(blocks, starts.tolist(), strict=False):
        if block.dtype == np.float32:
            np.dot(np.asarray(block), query_E, out=found[start : start + len(block)])
            continue
        tasks += [(block, at, found[start + at :]) for at in range(0, len(block), TASK)]

    def fill(task: tuple[Rows, int, np.ndarray]) -> None:
        block, at, out = task
        _narrow_scores(block[at : at + TASK], query_E, out)

    if tasks:
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(fill, tasks))
    return found


def _narrow_scores(rows_NE: np.ndarray, query_E: np.ndarray, out: np.ndarray) -> None:
    """Those of float16 rows, on this thread: BLAS would start others, which wait for each other."""
    held = np.empty((AT_ONCE, rows_NE.shape[1]), np.float32)
    for at in range(0, len(rows_NE), AT_ONCE):
        rows = rows_NE[at : at + AT_ONCE]
        part = widened(rows, held[: len(rows)])
        np.einsum("ne,e->n", part, query_E, out=out[at : at + len(rows)])


def best(scores_N: np.ndarray, k: int) -> np.ndarray:
    """Positions of the `k` largest scores, best first; among equal ones the earlier first.

    At least `k` rows reach the least of the `k` best maxima of runs, and few more do:
    only these are sorted.
    """
    if k < 1:
        return np.empty(0, np.int64)
    whole = len(scores_N) // MAXIMA * MAXIMA
    maxima = scores_N[:whole].reshape(-1, MAXIMA).max(axis=1)
    bound = -np.partition(-maxima, k - 1)[k - 1] if len(maxima) >= k else -np.inf
    candidates = np.flatnonzero(scores_N >= bound)
    order = np.lexsort((candidates, -scores_N[candidates]))[:k]
    return candidates[order]


def log_sum(scores_N: np.ndarray, scale: float) -> float:
    """log of the sum of exp(scale * score), without overflow; -inf over nothing."""
    top = float(scores_N.max(initial=-np.inf))
    if top == -np.inf:
        return top
    if scale > 0:
        scores_N = scores_N[scores_N > top - NEGLIGIBLE / scale]
    powers = np.exp(np.float32(scale) * (scores_N - np.float32(top)))
    return scale * top + float(np.log(powers.sum(dtype=np.float64)))


def exact_neighbours(
    blocks: Sequence[Rows], queries_QE: np.ndarray, k: int, skip: np.ndarray
) -> np.ndarray:
    """The rows nearest to each query, (Q, k) int64, best first.

    Args:
        blocks: arrays that together are all rows.
        queries_QE: float32.
        k: how many; fewer where there are not so many rows.
        skip: rows that do not count.
    """
    top_scores = np.empty((len(queries_QE), 0), np.float32)
    top_rows = np.empty((len(queries_QE), 0), np.int64)
    start = 0
    for block in blocks:
        for at in range(0, len(block), STRIP):
            strip = widened(block[at : at + STRIP])
            rows = start + at + np.arange(len(strip))
            found = queries_QE @ strip.T
            found[:, np.isin(rows, skip, assume_unique=True)] = -np.inf
            top_scores = np.concatenate([top_scores, found], axis=1)
            top_rows = np.concatenate([top_rows, np.tile(rows, (len(queries_QE), 1))], axis=1)
            kept = np.argpartition(-top_scores, min(k, top_scores.shape[1]) - 1)[:, :k]
            top_scores = np.take_along_axis(top_scores, kept, axis=1)
            top_rows = np.take_along_axis(top_rows, kept, axis=1)
        start += len(block)
    order = np.argsort(-top_scores, axis=1, kind="stable")
    return np.take_along_axis(top_rows, order, axis=1)


def as_float32(blocks: Sequence[Rows]) -> np.ndarray:
    """Arrays one below the other, converted on all cores."""
    starts = np.cumsum([0, *map(len, blocks)])
    held = np.empty((starts[-1], blocks[0].shape[1]), np.float32)

    def fill(number: int) -> None:
        widened(blocks[number][:], held[starts[number] : starts[number + 1]])

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(fill, range(len(blocks))))
    return held
