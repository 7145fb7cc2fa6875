"""Product quantisation: rows as a few bytes each, as a hundred million images would need.

FAISS's IVF with the residual of a row in 32 or 64 bytes. The best candidates are ranked by the rows
themselves, as nnclip ranks those of its 8-bit index. No rotation is learned (OPQ): the drawn rows
are turned at random.

Axes: N rows, Q queries, E embedding.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import faiss
import numpy as np

from nnclip.search.approximate import list_count
from nnclip.search.exact import exact_neighbours
from nnclip.search.rows import NO_ROWS, Rows, gather, widened

BYTES = (32, 64)  # of a row
RANKED = (100, 400, 1600)  # candidates that the rows themselves rank
PROBES = (16, 64)  # lists that a query opens
LEARNED = 1 << 17  # rows that codes are learned from
NEAREST = 10


def measured(blocks: Sequence[Rows], queries_QE: np.ndarray) -> list[dict[str, float]]:
    """By bytes, lists and candidates: recall@10, and p50 of a query with the rows in memory."""
    wanted = exact_neighbours(blocks, queries_QE, NEAREST, NO_ROWS)
    found = []
    for size in BYTES:
        start = time.perf_counter()
        index = built(blocks, size)
        seconds = round(time.perf_counter() - start, 1)
        for probes in PROBES:
            for ranked in RANKED:
                one = asked(index, blocks, queries_QE, wanted, probes, ranked)
                found.append({"bytes": size, "build_seconds": seconds, **one})
                print(found[-1], flush=True)
    return found


def built(blocks: Sequence[Rows], size: int) -> faiss.Index:
    """The index of all rows, `size` bytes each."""
    rows, embed = sum(map(len, blocks)), blocks[0].shape[1]
    kind = f"IVF{list_count(rows)},PQ{size}"
    index = faiss.index_factory(embed, kind, faiss.METRIC_INNER_PRODUCT)
    chosen = np.random.default_rng(0).choice(rows, min(rows, LEARNED), replace=False)
    index.train(gather(blocks, np.sort(chosen)))
    for block in blocks:
        if len(block):
            index.add(widened(block[:]))
    return index


def asked(
    index: faiss.Index,
    blocks: Sequence[Rows],
    queries_QE: np.ndarray,
    wanted: np.ndarray,
    probes: int,
    ranked: int,
) -> dict[str, float]:
    """One setting."""
    faiss.extract_index_ivf(index).nprobe = probes
    hits, seconds = 0, []
    for query_E, nearest in zip(queries_QE, wanted, strict=True):
        start = time.perf_counter()
        candidates = np.sort(index.search(query_E[None], ranked)[1][0])
        candidates = candidates[candidates >= 0]
        best = np.argsort(-(gather(blocks, candidates) @ query_E))[:NEAREST]
        seconds.append(time.perf_counter() - start)
        hits += len(np.intersect1d(candidates[best], nearest))
    return {
        "probes": probes,
        "ranked": ranked,
        "recall_at_10": round(hits / wanted.size, 4),
        "p50_ms": round(1000 * float(np.median(seconds)), 3),
    }
