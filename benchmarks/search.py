"""Search in a million images: how long a query takes, how much it finds, what it costs.

    python benchmarks/search.py [--quick] [--rows N] [--out FILE]

One process, one query at a time, as a server or a shell would ask. Exact search takes turns with
NumPy on the same rows. Vectors are drawn with the statistics of real embeddings, see vectors.py.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import CORES, judged, machine, print_ratios
from vectors import Drawn, Statistics, measured_deviations, power_law_deviations

from nnclip.search.exact import as_float32, exact_neighbours
from nnclip.search.feed import Tried
from nnclip.search.log import Entry
from nnclip.search.manifest import Manifest, write_manifest
from nnclip.search.shards import write_shard
from nnclip.search.sources import Item
from nnclip.search.store import FolderStore

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
    parser.add_argument("--quick", action="store_true", help="20,000 rows: under 1 min")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    if args.quick:
        args.rows, args.queries = 20_000, 40
    if os.getloadavg()[0] > CORES / 2:
        print(f"the machine is busy (load {os.getloadavg()[0]:.1f}): figures mean little")
    content: dict[str, Any] = {"benchmark": "search", "machine": machine(), "rows": []}
    with tempfile.TemporaryDirectory(prefix="nnclip-search-") as folder:
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
    exact = against_numpy(FolderStore(folder, exact=True), queries["texts"])
    print(f"exact: p50 {exact['p50_ms']} ms, NumPy {exact['numpy_p50_ms']} ms", flush=True)
    tuned_by = drawn.texts(256)  # other texts than those that are asked below
    card = FolderStore(folder).build_index(args.kind, 0.95, lambda: tuned_by)
    print(f"built in {card.seconds} s; setting {card.setting}; {card.recall}", flush=True)
    start = time.perf_counter()
    store = FolderStore(folder)
    store.nearest(queries["texts"][0], NEAREST, SCALE)
    opening = round(time.perf_counter() - start, 3)
    found = {name: asked(store, vectors) for name, vectors in queries.items()}
    adding = added(store, drawn)
    after = asked(store, queries["texts"])
    size = sum(f.stat().st_size for f in folder.glob("index*"))
    return {
        "vectors": {"rows": args.rows, "embed": EMBED, "dtype": "float16", **vars(BUNDLED)}
        | {"spectrum_drawn": args.spectrum},
        "exact": exact,
        "index": {**vars(card), "bytes": size, "open_and_first_query_seconds": opening},
        "queries": found,
        "adding": adding,
        "queries_after_adding": after,
        "memory": memory(),
        "ratios": ratios(exact, found, adding, args.rows),
    }


def ratios(exact: dict, found: dict, adding: dict, rows: int) -> dict[str, dict]:
    """What is promised, beside what was found."""
    promised = {
        f"{rows:,} rows: exact search, times NumPy's speed": judged(
            {"value": exact["times_numpy"]}, least=1.0
        ),
        f"seconds to add {ADDED:,} vectors": judged({"value": adding["seconds"]}, most=2.0),
    }
    for kind, one in found.items():
        promised[f"{rows:,} rows: ms of a query, p50, {kind}"] = judged(
            {"value": one["p50_ms"]}, most=10.0
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


def against_numpy(store: FolderStore, queries_QE: np.ndarray) -> dict[str, float]:
    """Exact search and NumPy in turns on float32 rows; the answers must be the same."""
    store.nearest(queries_QE[0], NEAREST, SCALE)
    rows_NE = as_float32(store.blocks)
    ours, theirs, whole = [], [], []
    for query_E in queries_QE[:40]:
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


def asked(store: FolderStore, queries_QE: np.ndarray) -> dict[str, float]:
    """Time of each query alone, recall@10, and how far the estimated softmax is off."""
    store.nearest(queries_QE[0], NEAREST, SCALE)
    cpu = time.process_time()
    for query_E in queries_QE:
        store.nearest(query_E, NEAREST, SCALE)
    cpu = (time.process_time() - cpu) / len(queries_QE)
    nearest = exact_neighbours(store.blocks, queries_QE, NEAREST, store.dead)
    seconds, hits, off = [], 0, []
    for query_E, wanted in zip(queries_QE, nearest, strict=True):
        found, taken = timed(lambda q=query_E: store.nearest(q, NEAREST, SCALE))
        seconds.append(taken)
        hits += len(np.intersect1d(found.rows, wanted))
        off.append(found.log_total)
    totals = exact_totals(store, queries_QE)
    error = np.abs(np.exp(np.array(off) - totals) - 1)
    return {
        **percentiles(seconds),
        "processor_ms": round(1000 * cpu, 3),
        "recall_at_10": round(hits / nearest.size, 4),
        "softmax_off_median": round(float(np.median(error)), 4),
        "softmax_off_p95": round(float(np.percentile(error, 95)), 4),
    }


def exact_totals(store: FolderStore, queries_QE: np.ndarray) -> np.ndarray:
    """log of the sum of exp(scale * cosine) over all rows, (Q,)."""
    totals = np.full(len(queries_QE), -np.inf)
    for block in store.blocks:
        if len(block):
            scores = SCALE * (queries_QE @ np.asarray(block, np.float32).T).astype(np.float64)
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


def memory() -> dict[str, int]:
    """Megabytes of this process: its own, and pages of mapped files; and the most there was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    wanted = {"own": "RssAnon", "mapped_files": "RssFile", "peak": "VmHWM"}
    return {f"{name}_mb": int(fields[key].split()[0]) // 1024 for name, key in wanted.items()}


if __name__ == "__main__":
    raise SystemExit(main())
