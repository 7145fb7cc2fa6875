"""How the benchmarks measure: contenders take turns, so that all meet the same load on the machine.

A contender is one implementation with its inputs bound. In every round each is called in turn; what
is compared is the median over rounds, and a ratio is the median of the ratios within each round.
Between rounds the machine's own pace is measured. A round in which it moved is repeated.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CORES = len(os.sched_getaffinity(0))
PAUSE = 0.02  # seconds between contenders, in which threads that wait by spinning go to sleep
LEAST = 0.1  # seconds of calls a round, so that short calls are averaged
MOVED = 0.15  # how much slower than at its best the machine may be while a round counts
SIDE = 768  # of the product whose rate is the machine's pace
NO_BF16 = "bf16: this processor has neither AMX nor AVX512-BF16"
PACKAGES = (
    *("nnabla", "openvino", "nncf", "torch", "open_clip_torch", "clip-anytorch", "transformers"),
    *("onnxruntime", "numpy"),
)


@dataclass
class Contender:
    """One implementation that takes part in a cell.

    Attributes:
        implementation: its name.
        precision: `fp32`, `bf16` or `int8`.
        call: computes one batch; may give the features (N, E).
        items: what one call counts for: images, texts, steps or operations.
        note: how it was run, where there was a choice.
        seconds: of one call, one number a round.
        unsteady: how many of these rounds count though the machine's own pace moved.
        result: of the last call.
    """

    implementation: str
    precision: str
    call: Callable[[], Any]
    items: float
    note: str = ""
    seconds: list[float] = field(default_factory=list)
    unsteady: int = 0
    result: Any = None

    @property
    def key(self) -> tuple[str, str]:
        """What tells contenders of one cell apart."""
        return self.implementation, self.precision

    def per_second(self) -> dict[str, float]:
        """Median and quartiles of what it does in a second, and how many rounds there were.

        `unsteady` is there where some of them are.
        """
        rates = sorted(self.items / t for t in self.seconds)
        low, high = np.percentile(rates, (25, 75))
        return {
            "median": _short(statistics.median(rates)),
            "lower_quartile": _short(low),
            "upper_quartile": _short(high),
            "rounds": len(rates),
            **({"unsteady": self.unsteady} if self.unsteady else {}),
        }


def take_turns(contenders: Sequence[Contender], rounds: int, patience: float) -> None:
    """Call every contender in every round, each round beginning with another one.

    A round is thrown away if the machine was slower by more than MOVED before or after it; once as
    many are as should count, the others count, as unsteady.

    Args:
        contenders: their `seconds` and `result` are filled.
        rounds: at most so many.
        patience: seconds of calls after which a contender leaves, if it was there for three
            rounds; one that is slower still leaves after four times as many seconds.
    """
    calls = {c.key: max(1, round(LEAST / _warm_up(c))) for c in contenders}
    spent = dict.fromkeys(calls, 0.0)
    gc.collect()
    paces, thrown, counted = [pace()], 0, 0
    while counted < rounds:
        taken = []
        for at in range(len(contenders)):
            contender = contenders[(at + counted) % len(contenders)]
            limit = patience * (1 if len(contender.seconds) >= 3 else 4)
            if spent[contender.key] <= limit:
                taken.append((contender, _seconds(contender, calls[contender.key])))
        if not taken:
            break
        paces.append(pace())
        moved = min(paces[-2:]) < (1 - MOVED) * max(paces)
        if moved and thrown < rounds:
            thrown += 1
            continue
        for contender, seconds in taken:
            spent[contender.key] += seconds * calls[contender.key]
            contender.seconds.append(seconds)
            contender.unsteady += moved
        counted += 1


def pace() -> float:
    """How fast the machine is now: the best of three products of NumPy, a second."""
    time.sleep(PAUSE)
    square = np.ones((SIDE, SIDE), np.float32)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        np.matmul(square, square)
        best = min(best, time.perf_counter() - start)
    return 1 / best


def _seconds(contender: Contender, calls: int) -> float:
    """Seconds of a call, the mean of some."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    for _ in range(calls):
        contender.result = contender.call()
    return (time.perf_counter() - start) / calls


def _warm_up(contender: Contender) -> float:
    """Seconds of a call, after one or two whose time is lost to preparations."""
    taken = LEAST
    for _ in range(3):
        start = time.perf_counter()
        contender.call()
        taken = time.perf_counter() - start
        if taken > 1.0:
            break
    return taken


def fastest(ways: Sequence[Contender]) -> Contender:
    """The quickest of several ways to run the same thing: the best of three calls in turns."""
    for way in ways:
        _warm_up(way)
    best = dict.fromkeys(range(len(ways)), float("inf"))
    for _ in range(3 if len(ways) > 1 else 0):
        for i, way in enumerate(ways):
            start = time.perf_counter()
            way.call()
            best[i] = min(best[i], time.perf_counter() - start)
    return ways[min(best, key=best.__getitem__)]


def ratio(ours: Contender, theirs: Contender) -> dict[str, float]:
    """How many times faster `ours` is: the median over the rounds that both took part in."""
    each = [
        (ours.items / a) / (theirs.items / b)
        for a, b in zip(ours.seconds, theirs.seconds, strict=False)
    ]
    low, high = np.percentile(each, (25, 75))
    return {
        "value": _short(statistics.median(each)),
        "lower_quartile": _short(low),
        "upper_quartile": _short(high),
    }


def judged(
    value: Mapping[str, float], least: float | None = None, most: float | None = None
) -> dict:
    """A figure with its target, and whether it is reached; without a target it is only measured."""
    target = most if least is None else least
    reached = None
    if target is not None:
        reached = value["value"] >= target if most is None else value["value"] <= target
    bound = {} if target is None else {"bound": "least" if most is None else "most"}
    return {
        **value,
        "target": target,
        **bound,
        "reached": None if reached is None else bool(reached),
    }


def agreement(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """How close features (N, E) are: the least cosine of two rows, the largest relative error."""
    a, b = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    cosine = (a * b).sum(axis=1) / (lengths[0] * lengths[1])
    error = np.linalg.norm(a - b, axis=1) / lengths[1]
    return {"least_cosine": round(float(cosine.min()), 7), "largest_error": _short(error.max())}


def machine() -> dict[str, Any]:
    """What was measured on, when, and with what."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    known = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in known.items()}
    flags = fields.get("flags", "").split()
    shown = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return {
        "host": platform.node(),
        "processor": fields.get("model name", platform.processor()),
        "cores": CORES,
        "instructions": [flag for flag in shown if flag in flags],
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "active"),
        "load_average_before": round(os.getloadavg()[0], 2),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def installed(*modules: str) -> bool:
    """Whether all these modules can be imported."""
    return all(importlib.util.find_spec(module) is not None for module in modules)


def add_arguments(parser: argparse.ArgumentParser, models: Sequence[str], rounds: int) -> None:
    """Declare the flags that the benchmarks share."""
    parser.add_argument("--models", default=",".join(models), help="comma-separated (%(default)s)")
    parser.add_argument("--batches", help="comma-separated; default: what suits each model")
    parser.add_argument(
        "--rounds", type=int, default=rounds, help="at most; slow ones take fewer (%(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a small model, few rounds, no int8: under 1 min"
    )
    parser.add_argument(
        "--out", type=Path, help="JSON file to write after every model; models in it are not redone"
    )


class Report:
    """What was found, model by model; kept in a file where one is named."""

    def __init__(self, benchmark: str, out: Path | None) -> None:
        """Begin, or go on with what `out` holds."""
        self._out = out
        self.content: dict[str, Any] = {
            "benchmark": benchmark,
            "machine": machine(),
            "rows": [],
            "ratios": {},
            "skipped": [],
            "models": [],
        }
        if out is not None and out.is_file():
            before = json.loads(out.read_text())
            if before.get("benchmark") != benchmark:
                raise SystemExit(f"{out} holds no results of {benchmark}; name another file")
            self.content = before

        if os.getloadavg()[0] > CORES / 2:
            print(f"the machine is busy (load {os.getloadavg()[0]:.1f}): figures mean little")

    def has(self, model: str) -> bool:
        """Whether a model was measured before."""
        return model in self.content["models"]

    def skip(self, what: str) -> None:
        """Note what could not be measured, once, and say so."""
        if what not in self.content["skipped"]:
            self.content["skipped"].append(what)
            print(f"skipped: {what}", flush=True)

    def add(self, model: str, rows: list[dict], ratios: Mapping[str, dict], **more: Any) -> None:
        """Take a model's results in, and keep them."""
        self.content["models"].append(model)
        self.content["rows"] += rows
        self.content["ratios"].update(ratios)
        for key, value in more.items():
            self.content.setdefault(key, {})[model] = value
        if self._out is not None:
            self._out.parent.mkdir(parents=True, exist_ok=True)
            self._out.write_text(json.dumps(self.content, indent=1) + "\n")

    def finish(self) -> None:
        """Print the ratios, and everything as one JSON line."""
        print_ratios(self.content["ratios"])
        print(json.dumps(self.content), flush=True)


def row(contender: Contender, **more: Any) -> dict[str, Any]:
    """A contender's result as a row of the JSON line."""
    note = {"note": contender.note} if contender.note else {}
    return {
        **more,
        "precision": contender.precision,
        "implementation": contender.implementation,
        "per_second": contender.per_second(),
        **note,
    }


def print_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of one cell, the fastest first."""
    print(f"\n{title:44} {'per second':>10} {'quartiles':>17}  {'cosine':>9} {'error':>8}")
    for one in sorted(rows, key=lambda r: (r["precision"], -r["per_second"]["median"])):
        speed, close = one["per_second"], one.get("agreement") or {}
        spread = f"{speed['lower_quartile']:.4g} - {speed['upper_quartile']:.4g}"
        spread = f"~ {spread}" if "unsteady" in speed else spread  # the machine's own pace moved
        name = f"  {one['precision']} {one['implementation']}"
        name += f" ({one['note']})" if "note" in one else ""
        agrees = f"{close['least_cosine']:9.6f} {close['largest_error']:8.1e}" if close else ""
        print(f"{name:44} {speed['median']:10.4g} {spread:>17}  {agrees}".rstrip())
    print(end="", flush=True)


def print_ratios(ratios: Mapping[str, Mapping[str, Any]]) -> None:
    """A table of ratios beside their targets."""
    print(f"\n{'':78} {'value':>9} {'target':>9}")
    for name, one in ratios.items():
        bound = {"least": ">=", "most": "<="}.get(one.get("bound", ""), "")
        target = "" if one["target"] is None else f"{bound}{one['target']:g}"
        verdict = {True: "reached", False: "MISSED", None: ""}[one["reached"]]
        print(f"{name:78} {one['value']:9.6g} {target:>9} {verdict}".rstrip())


def _short(value: float) -> float:
    """Four figures say all that a stopwatch can."""
    return float(f"{value:.4g}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
