"""Approximate search by FAISS: candidates from compressed rows, then ranked by the rows themselves.

What was added since the index was built is searched exactly, so that nothing need be rebuilt.

Axes: N rows, E embedding, Q queries.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.errors import DataError
from nnclip.extras import extra
from nnclip.search.exact import STRIP, Found, best, log_sum, ranked, standing
from nnclip.search.rows import NO_ROWS, Rows, gather, widened
from nnclip.search.writing import first_line

with extra():
    import faiss

LINKS = 32  # of a node of HNSW
PATIENCE = 100  # candidates while a node of HNSW finds its links
PER_LIST = 64  # rows a list that k-means learns from
ROUNDS = 10  # of k-means
THREADED = 50_000  # rows of an index, above which building it takes several cores
SHARED = 20_000  # rows that a query is compared with, above which it takes several cores
LOOKED_AT = 200_000  # rows that pass a filter, up to which each is looked at
TRAINED = 1 << 17  # rows that the ranges of the 8-bit numbers are learned from

# The settings that are tried: lists that a query opens, and nodes that it keeps in view.
PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
VIEWS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
SETTINGS = {"ivf": PROBES, "hnsw": VIEWS}


def build(kind: str, blocks: Sequence[Rows], seed: int = 0) -> faiss.Index:
    """An index of all rows, each number kept in 8 bits.

    Args:
        kind: "ivf" (lists around centres) or "hnsw" (a graph).
        blocks: arrays (n, E) that together are all rows.
        seed: of the rows that are learned from.
    """
    rows, embed = sum(map(len, blocks)), blocks[0].shape[1]
    lists = list_count(rows)
    wanted = min(rows, PER_LIST * lists if kind == "ivf" else TRAINED)
    chosen = np.sort(np.random.default_rng(seed).choice(rows, wanted, replace=False))
    product = faiss.METRIC_INNER_PRODUCT
    eight: Any = faiss.ScalarQuantizer.QT_8bit
    index: Any
    if kind == "ivf":
        centres = faiss.IndexFlatIP(embed)
        index = faiss.IndexIVFScalarQuantizer(centres, embed, lists, eight, product)
        index.cp.niter, index.cp.max_points_per_centroid = ROUNDS, PER_LIST
        index.cp.min_points_per_centroid = 1
        index.cp.spherical = True
    else:
        index = faiss.IndexHNSWSQ(embed, eight, LINKS, product)
        index.hnsw.efConstruction = PATIENCE
    with threads(rows):
        index.train(gather(blocks, chosen))
        for block in blocks:
            if len(block):
                index.add(widened(block[:]))
    return index


def list_count(rows: int) -> int:
    """Lists of an IVF: about four times the root of the rows, a power of two; 8 rows at least."""
    return int(2 ** np.clip(min(round(np.log2(4 * rows**0.5)), int(np.log2(rows / 8))), 0, 16))


@contextmanager
def threads(rows: int) -> Iterator[None]:
    """FAISS on one core where there are few rows: threads that wait for each other cost more."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(before if rows > THREADED else 1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def open_index(path: Path) -> faiss.Index:
    """An index whose compressed rows stay in their file; DataError if it is missing or damaged."""
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except Exception as error:  # FAISS raises what C++ does, a failed allocation too
        raise DataError(
            f"{path}: cannot be read ({first_line(error)}); run `nnclip index`, which "
            "builds it again"
        ) from error
    return index


def parameters(kind: str, setting: int, dead: np.ndarray, rows: int) -> Any:
    """FAISS's parameters of a search that leaves out `dead` rows."""
    lib: Any = faiss  # whose Python side is not what its types say
    given: dict[str, Any] = {"nprobe" if kind == "ivf" else "efSearch": setting}
    if len(dead):
        alive = np.ones(rows, bool)
        alive[dead] = False
        bits = np.packbits(alive, bitorder="little")
        given["sel"] = lib.IDSelectorBitmap(bits)
    return (lib.SearchParametersIVF if kind == "ivf" else lib.SearchParametersHNSW)(**given)


class Approximate:
    """Searches the first `rows` rows by an index, later ones exactly."""

    def __init__(
        self,
        index: Any,
        kind: str,
        setting: int,
        rerank: int,
        sample: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Take an index.

        Args:
            index: of the first rows.
            kind: "ivf" or "hnsw".
            setting: lists that a query opens, or nodes that it keeps in view.
            rerank: candidates that are ranked by the rows themselves.
            sample: numbers of some rows, sorted, drawn evenly, and the rows (S, E) float32; they
                stand for those that a query does not look at in the sum of the softmax.
        """
        self._index, self._kind, self._setting, self._rerank = index, kind, setting, rerank
        self._sample, self._sample_SE = sample
        if kind == "ivf" and setting * index.ntotal > SHARED * index.nlist:
            index.parallel_mode = 1  # a lone query uses all cores: each takes some of the lists
        self._prepared = NO_ROWS, parameters(kind, setting, NO_ROWS, 0)

    def nearest(
        self,
        query_E: np.ndarray,
        k: int,
        scale: float,
        blocks: Sequence[Rows],
        dead: np.ndarray,
        left_out: np.ndarray = NO_ROWS,
    ) -> Found:
        """The rows closest to a query; the arguments are those of `Exact.nearest`.

        Where few rows are not left out, these are all looked at.

        Args:
            query_E: float32, of unit length.
            k: how many.
            scale: of the softmax.
            blocks: all rows.
            dead: rows that do not count.
            left_out: rows that are not to be found.
        """
        size, total_rows = self._index.ntotal, sum(map(len, blocks))
        images = total_rows - len(dead)
        if len(left_out):
            drawn = np.sort(self._sample_SE[~np.isin(self._sample, dead)] @ query_E)
            dead = np.union1d(dead, left_out)
            if total_rows - len(dead) <= LOOKED_AT:
                found = _all_but(blocks, query_E, k, scale, dead)
                return replace(found, percentiles=standing(found.cosines, drawn, images))
        candidates = self._candidates(query_E, max(self._rerank, 2 * k), dead)
        cosines = gather(blocks, candidates) @ query_E
        added_rows = np.arange(size, total_rows)
        added = _after(blocks, size) @ query_E
        added[dead[dead >= size] - size] = -np.inf
        rows, scores_N = np.append(candidates, added_rows), np.append(cosines, added)
        chosen = best(scores_N, min(k, len(rows) - int((dead >= size).sum())))
        rest = self._rest(query_E, scale, candidates, dead[dead < size])
        total = np.logaddexp(log_sum(scores_N, scale), rest)
        near = scores_N[chosen]
        below = standing(near, drawn, images) if len(left_out) else ranked(len(near), images)
        return Found(rows[chosen], near, float(total), False, below)

    def _candidates(self, query_E: np.ndarray, k: int, dead: np.ndarray) -> np.ndarray:
        for_dead, given = self._prepared  # by another thread, perhaps
        if dead is not for_dead:
            size = self._index.ntotal
            inside = dead[dead < size]
            # of the rows in a list, fewer count: more lists are opened for as many
            share = size / max(1, size - len(inside))
            setting = min(int(self._setting * share), SETTINGS[self._kind][-1])
            given = parameters(self._kind, max(self._setting, setting), inside, size)
            self._prepared = dead, given
        found = self._index.search(query_E[None], k, params=given)[1][0]
        return np.sort(found[found >= 0])

    def _rest(self, query_E: np.ndarray, scale: float, seen: np.ndarray, dead: np.ndarray) -> float:
        """log of the estimated sum over the indexed rows that were not seen, from the sample."""
        left = self._index.ntotal - len(seen) - len(dead)
        counts = np.ones(len(self._sample), bool)
        for rows in (seen, dead):
            place = np.searchsorted(self._sample, rows)
            place[place == len(self._sample)] = 0
            counts[place[self._sample[place] == rows]] = False
        if left < 1 or not counts.any():
            return -np.inf
        scores_S = (self._sample_SE @ query_E)[counts]
        return log_sum(scores_S, scale) + float(np.log(left / counts.sum()))


def _all_but(
    blocks: Sequence[Rows], query_E: np.ndarray, k: int, scale: float, dead: np.ndarray
) -> Found:
    """The nearest of all rows but some, each looked at."""
    alive = np.ones(sum(map(len, blocks)), bool)
    alive[dead] = False
    rows = np.flatnonzero(alive)
    parts = [gather(blocks, rows[at : at + STRIP]) @ query_E for at in range(0, len(rows), STRIP)]
    scores_N = np.concatenate(parts) if parts else np.empty(0, np.float32)
    chosen = best(scores_N, min(k, len(rows)))
    near = scores_N[chosen]
    return Found(rows[chosen], near, log_sum(scores_N, scale), True, ranked(len(near), len(rows)))


def _after(blocks: Sequence[Rows], start: int) -> np.ndarray:
    """The rows from number `start` on; they lie in the last blocks."""
    left, found = sum(map(len, blocks)) - start, []
    for block in reversed(blocks):
        if left <= 0:
            break
        found.append(block[-left:] if left < len(block) else block)
        left -= len(block)
    found.reverse()
    if len(found) == 1:
        return widened(found[0][:])
    empty = np.empty((0, blocks[0].shape[1]), np.float32)
    return np.concatenate([widened(part[:]) for part in found] or [empty])
