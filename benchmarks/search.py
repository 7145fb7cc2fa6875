"""Search in a million images: how long a query takes, how much it finds, what it costs.

    python benchmarks/search.py [--quick] [--rows N] [--codes] [--database URL] [--out FILE]

One process, one query at a time, as a server or a shell would ask. Exact search takes turns with
NumPy on the same rows, where memory holds them. Vectors are drawn with the statistics of real
embeddings, see vectors.py. --codes adds product quantisation of the same rows, --database pgvector.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import product_codes
from measuring import CORES, judged, machine, print_ratios
from resident import Watch, memory
from vectors import Drawn, Statistics, measured_deviations, power_law_deviations

from nnclip.host import available_memory
from nnclip.search.exact import SHARE, as_float32, exact_neighbours
from nnclip.search.feed import Tried
from nnclip.search.log import Entry
from nnclip.search.manifest import Manifest, write_manifest
from nnclip.search.rows import Rows, widened
from nnclip.search.shards import write_shard
from nnclip.search.sources import Item
from nnclip.search.store import FolderStore, Store

# 5,925 drawn images with English captions, embedded by the first bundled model (192 numbers)
BUNDLED = Statistics(
    spectrum=(
        *(0.106, 0.104, 0.0813, 0.0553, 0.0202, 0.000321),
        *(0.000103, 5.9e-05, 1.88e-05, 6.15e-06, 1.27e-06, 1.44e-08),
    ),
    mean=0.1724,
    text_mean=0.1715,
    between_means=0.3172,
    clustered=0.698,
    matched=0.8297,
    unmatched=0.0087,
)
EMBED, SCALE, NEAREST, ADDED = 512, 100.0, 10, 10_000


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="(%(default)s)")
    parser.add_argument("--queries", type=int, default=200, help="of each kind (%(default)s)")
    parser.add_argument("--kind", default="ivf", choices=("ivf", "hnsw"), help="(%(default)s)")
    parser.add_argument("--spectrum", default="measured", choices=("measured", "power-law"))
    parser.add_argument("--codes", action="store_true", help="product quantisation, too")
    parser.add_argument("--database", metavar="URL", help="pgvector, too: postgresql://...#name")
    parser.add_argument("--folder", type=Path, help="of the collection while it is measured")
    parser.add_argument("--quick", action="store_true", help="20,000 rows: under 1 min")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    if args.quick:
        args.rows, args.queries = 20_000, 40
    if os.getloadavg()[0] > CORES / 2:
        print(f"the machine is busy (load {os.getloadavg()[0]:.1f}): figures mean little")
    content: dict[str, Any] = {"benchmark": "search", "machine": machine(), "rows": []}
    with tempfile.TemporaryDirectory(prefix="nnclip-search-", dir=args.folder) as folder:
        content |= measured(Path(folder), args)
    print_ratios(content["ratios"])
    content["load_average_after"] = round(os.getloadavg()[0], 2)
    if args.out is not None:
        args.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content), flush=True)
    return 0


def measured(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    deviations = {
        "measured": measured_deviations(BUNDLED.spectrum, EMBED),
        "power-law": power_law_deviations(EMBED),
    }
    drawn = Drawn(BUNDLED, deviations[args.spectrum], args.rows)
    write_collection(folder, drawn)
    queries = {"pictures": like_pictures(drawn, args.queries), "texts": drawn.texts(args.queries)}
    exact = exactly(FolderStore(folder, exact=True), queries["texts"])
    print(f"exact: p50 {exact['p50_ms']} ms, NumPy {exact.get('numpy_p50_ms')} ms", flush=True)
    tuned_by = drawn.texts(256)  # other texts than those that are asked below
    with Watch() as building:
        card = FolderStore(folder).build_index(args.kind, 0.95, lambda: tuned_by)
    print(f"built in {card.seconds} s; setting {card.setting}; {card.recall}", flush=True)
    from_disk = asked_cold(folder, drawn.texts(args.queries // 2))
    store, opening = timed(lambda: opened(folder, queries["texts"][0]))
    found = {name: asked(store, vectors, *store.vectors()) for name, vectors in queries.items()}
    content = {
        "vectors": {"rows": args.rows, "embed": EMBED, "dtype": "float16", **vars(BUNDLED)}
        | {"spectrum_drawn": args.spectrum, "bytes": size_of(folder, "shards/*.npy")},
        "exact": exact,
        "index": {**vars(card), "bytes": size_of(folder, "index*")}
        | {"open_and_first_query_seconds": round(opening, 3), "peak_own_bytes": building.most},
        "queries": found,
        "queries_from_disk": from_disk,
    }
    if args.codes:
        content["product_codes"] = product_codes.measured(store.vectors()[0], queries["texts"])
    if args.database:
        import pgvector  # psycopg is optional

        ask = partial(asked, blocks=store.vectors()[0], dead=store.vectors()[1])
        content["pgvector"] = pgvector.measured(args.database, store, queries, tuned_by, ask)
    adding = added(store, drawn)
    return content | {
        "adding": adding,
        "queries_after_adding": asked(store, queries["texts"], *store.vectors()),
        "memory": memory(),
        "ratios": ratios(exact, found, adding, args.rows),
    }


def ratios(exact: dict, found: dict, adding: dict, rows: int) -> dict[str, dict]:
    """What is promised, beside what was found."""
    promised = {
        f"seconds to add {ADDED:,} vectors": judged({"value": adding["seconds"]}, most=2.0),
    }
    if "times_numpy" in exact:
        name = f"{rows:,} rows: exact search, times NumPy's speed"
        promised[name] = judged({"value": exact["times_numpy"]}, least=1.0)
    for kind, one in found.items():
        promised[f"{rows:,} rows: ms of a query, p50, {kind}"] = judged(
            {"value": one["p50_ms"]}, most=10.0 if rows <= 1_000_000 else None
        )
        promised[f"{rows:,} rows: recall@10, {kind}"] = judged(
            {"value": one["recall_at_10"]}, least=0.95
        )
    return promised


def write_collection(folder: Path, drawn: Drawn) -> None:
    """The rows as `nnclip embed` would leave them."""
    shard = 8192
    for number, block_NE in enumerate(drawn.pictures()):
        names = [f"/pictures/{number * shard + i}.jpg" for i in range(len(block_NE))]
        tried = [Tried(Item(name, name), 1, 1, "0" * 32) for name in names]
        write_shard(folder, number, block_NE.astype(np.float16), tried)
    manifest = Manifest("", "0" * 32, "fp32", EMBED, "float16", (), "", drawn.rows, shard)
    write_manifest(folder, manifest)


def like_pictures(drawn: Drawn, count: int) -> np.ndarray:
    """New images from the same clusters, which are not in the collection."""
    return next(drawn.pictures())[:count]


def exactly(store: FolderStore, queries_QE: np.ndarray) -> dict[str, float]:
    """Exact search, in turns with NumPy on float32 rows if they take half of the memory at most."""
    queries_QE = queries_QE[:40]
    store.nearest(queries_QE[0], NEAREST, SCALE)
    if 4 * sum(block.size for block in store.blocks) > SHARE * available_memory():
        return percentiles(
            [timed(lambda q=q: store.nearest(q, NEAREST, SCALE))[1] for q in queries_QE]
        )
    return against_numpy(store, queries_QE)


def against_numpy(store: FolderStore, queries_QE: np.ndarray) -> dict[str, float]:
    """Exact search and NumPy in turns; the answers must be the same."""
    rows_NE = as_float32(store.blocks)
    ours, theirs, whole = [], [], []
    for query_E in queries_QE:
        found, seconds = timed(lambda q=query_E: store.nearest(q, NEAREST, SCALE).rows)
        wanted, their_seconds = timed(lambda q=query_E: by_numpy(rows_NE, q)[0])
        whole.append(timed(lambda q=query_E: by_numpy(rows_NE, q, softmax=True))[1])
        assert np.array_equal(found, wanted)
        ours.append(seconds)
        theirs.append(their_seconds)
    times = float(np.median(np.array(theirs) / np.array(ours)))
    with_softmax = float(np.median(np.array(whole) / np.array(ours)))
    return {
        **percentiles(ours),
        "numpy_p50_ms": percentiles(theirs)["p50_ms"],
        "numpy_with_softmax_p50_ms": percentiles(whole)["p50_ms"],
        "times_numpy": round(times, 3),
        "times_numpy_with_softmax": round(with_softmax, 3),
    }


def by_numpy(rows_NE: np.ndarray, query_E: np.ndarray, softmax: bool = False) -> tuple:
    """What one would write without nnclip: the product, the ten largest, maybe the softmax."""
    scores = rows_NE @ query_E
    top = np.argpartition(-scores, NEAREST)[:NEAREST]
    rows = top[np.argsort(-scores[top], kind="stable")]
    if not softmax:
        return rows, None
    powers = np.exp(SCALE * (scores - scores.max()))
    return rows, (powers / powers.sum())[rows]


def opened(folder: Path, query_E: np.ndarray) -> FolderStore:
    """The collection, which has answered once."""
    store = FolderStore(folder)
    store.nearest(query_E, NEAREST, SCALE)
    return store


def asked_cold(folder: Path, queries_QE: np.ndarray) -> dict[str, float]:
    """The first answers after the collection's files have left the memory: read from disk."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as held:
                os.posix_fadvise(held.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    store, seconds = timed(lambda: opened(folder, queries_QE[0]))
    taken = [timed(lambda q=q: store.nearest(q, NEAREST, SCALE))[1] for q in queries_QE[1:]]
    return percentiles(taken) | {"open_and_first_query_seconds": round(seconds, 3)}


def asked(
    store: Store, queries_QE: np.ndarray, blocks: Sequence[Rows], dead: np.ndarray
) -> dict[str, float]:
    """Time of each query alone, recall@10, and how far the estimated softmax is off."""
    store.nearest(queries_QE[0], NEAREST, SCALE)
    cpu = time.process_time()
    for query_E in queries_QE:
        store.nearest(query_E, NEAREST, SCALE)
    cpu = (time.process_time() - cpu) / len(queries_QE)
    nearest = exact_neighbours(blocks, queries_QE, NEAREST, dead)
    seconds, hits, off = [], 0, []
    for query_E, wanted in zip(queries_QE, nearest, strict=True):
        found, taken = timed(lambda q=query_E: store.nearest(q, NEAREST, SCALE))
        seconds.append(taken)
        hits += len(np.intersect1d(found.rows, wanted))
        off.append(found.log_total)
    totals = exact_totals(blocks, queries_QE)
    error = np.abs(np.exp(np.array(off) - totals) - 1)
    return {
        **percentiles(seconds),
        "processor_ms": round(1000 * cpu, 3),
        "recall_at_10": round(hits / nearest.size, 4),
        "softmax_off_median": round(float(np.median(error)), 4),
        "softmax_off_p95": round(float(np.percentile(error, 95)), 4),
    }


def exact_totals(blocks: Sequence[Rows], queries_QE: np.ndarray) -> np.ndarray:
    """log of the sum of exp(scale * cosine) over all rows, (Q,)."""
    totals = np.full(len(queries_QE), -np.inf)
    for block in blocks:
        if len(block):
            scores = SCALE * (queries_QE @ widened(block[:]).T).astype(np.float64)
            totals = np.logaddexp(totals, np.logaddexp.reduce(scores, axis=1))
    return totals


def added(store: FolderStore, drawn: Drawn) -> dict[str, float]:
    """Seconds until 10,000 more are on disk and can be found."""
    vectors = np.concatenate([block for block, _ in zip(drawn.pictures(), range(2), strict=False)])
    vectors = vectors[:ADDED]
    names = [f"/more/{number}.jpg" for number in range(len(vectors))]
    records = [{"image": name, "path": name, "offset": 0, "size": -1} for name in names]
    rows, seconds = timed(lambda: store.append(Entry(records, vectors)))
    found = store.nearest(vectors[7], 1, SCALE)
    assert found.rows[0] == rows[7]
    return {"vectors": len(vectors), "seconds": round(seconds, 3)}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` gives, and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Of the time of a query."""
    p50, p95 = np.percentile(seconds, (50, 95)) * 1000
    return {"p50_ms": round(float(p50), 3), "p95_ms": round(float(p95), 3)}


def size_of(folder: Path, pattern: str) -> int:
    """Bytes of some files."""
    return sum(file.stat().st_size for file in folder.glob(pattern))


if __name__ == "__main__":
    raise SystemExit(main())
