"""nnclip and torch on the same NVIDIA GPU, in one run: agreement, images and steps a second.

Each contender is a process of its own (see gpu_worker.py) and they take turns. torch is
transformers' CLIP with sdpa, in bf16 by autocast. Where there is no GPU it says that nothing was
measured, writes that to --out too, and ends with 1. `--context cpu` tries the script itself out.

    python benchmarks/gpu.py --torch-python ~/torch/bin/python --out DATE-GPU.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Contender, agreement, judged, machine, print_ratios, print_rows, ratio, row

from nnclip.engine.cuda.driver import find_driver

WORKER = Path(__file__).with_name("gpu_worker.py")
PAIRS = (
    (("nnclip", "fp32"), ("torch", "fp32")),
    (("nnclip", "tf32"), ("torch", "tf32")),
    (("nnclip", "fp16"), ("torch", "bf16")),
)
ON_GPU = [one for pair in PAIRS for one in pair]
ON_CPU = PAIRS[0]
LARGEST_ERROR = {"fp32": 1e-4, "fp16": 1e-2}  # of features, against fp32 on the CPU
LEAST = {"images": 1.0, "step": 0.8}  # fp16 against torch's bf16
CURVE_STEPS, CURVE_BATCH, CURVE_APART = 60, 64, 0.01
PARITY = 8  # images and texts that are compared
LEAST_SECONDS = 0.2  # of calls a round


class Process:
    """A contender in its process; `ask` raises RuntimeError with what it says is wrong."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.ask()  # it says {} once it has loaded its model

    def ask(self, **task: Any) -> dict[str, Any]:
        """Send a task, if there is one, and wait for the answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        if task:
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        found = json.loads(line) if line else {"failed": f"it ended with {self._process.wait()}"}
        if "failed" in found:
            raise RuntimeError(found["failed"])
        return found


@contextmanager
def worker(python: str, *arguments: str) -> Iterator[Process]:
    """A worker process that ends with the context."""
    command = [python, str(WORKER), *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        try:
            yield Process(process)
        finally:
            process.kill()


def features_of(one: Process) -> np.ndarray:
    """Features of images, then of texts, (2 N, E)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "features.npz")
        one.ask(features=PARITY, to=str(path))
        with np.load(path) as found:
            return np.concatenate([found["images"], found["texts"]])


def timed(
    workers: dict[tuple[str, str], Process], kind: str, size: int, rounds: int, skip: list[str]
) -> dict[tuple[str, str], Contender]:
    """Let all contenders take turns at one task; those that fail are named and left out."""
    entered: dict[tuple[str, str], tuple[Contender, int]] = {}
    for key, one in workers.items():
        try:
            one.ask(prepare=kind, size=size)
            one.ask(calls=2)
            seconds = one.ask(calls=1)["seconds"]
        except RuntimeError as error:
            skip.append(f"{kind} {size}: {' '.join(key)}: {error}")
            continue
        contender = Contender(*key, call=lambda: None, items=size)
        entered[key] = contender, max(1, round(LEAST_SECONDS / seconds))
    for _ in range(rounds):
        for key, (contender, calls) in entered.items():
            contender.seconds.append(workers[key].ask(calls=calls)["seconds"])
    for key in entered:
        workers[key].ask(release=True)
    return {key: contender for key, (contender, _) in entered.items()}


def curves(workers: dict[tuple[str, str], Process], size: int, steps: int) -> dict[str, list]:
    """The loss curves of nnclip's fp32 and fp16."""
    wanted = [key for key in (("nnclip", "fp32"), ("nnclip", "fp16")) if key in workers]
    return {key[1]: workers[key].ask(losses=steps, size=size)["losses"] for key in wanted}


def farthest(curve: Sequence[float], other: Sequence[float]) -> float:
    """The largest relative difference of two loss curves, each smoothed over ten steps."""
    window = np.ones(min(10, len(curve))) / min(10, len(curve))
    a, b = (np.convolve(one, window, "valid") for one in (curve, other))
    return float(np.abs(a / b - 1).max())


def start(
    model: str, args: argparse.Namespace, stack: ExitStack, skip: list[str]
) -> dict[tuple[str, str], Process]:
    """The contenders' processes; those that cannot start are named and left out."""
    workers: dict[tuple[str, str], Process] = {}
    for name, precision in ON_CPU if args.context == "cpu" else ON_GPU:
        python = args.torch_python if name == "torch" else sys.executable
        try:
            one = stack.enter_context(worker(python, name, model, precision, args.context))
        except RuntimeError as error:
            skip.append(f"{model}: {name} {precision}: {error}")
            continue
        workers[name, precision] = one
    return workers


def parity(model: str, close: dict[tuple[str, str], dict]) -> dict[str, dict]:
    """The error of nnclip's features beside what it may be."""
    return {
        f"{model} {precision} features, largest error against fp32 on the CPU": judged(
            {"value": close["nnclip", precision]["largest_error"]}, most=most
        )
        for precision, most in LARGEST_ERROR.items()
        if ("nnclip", precision) in close
    }


def measure(model: str, args: argparse.Namespace, report: dict[str, Any]) -> None:
    """Measure one model and add it to the report."""
    with worker(sys.executable, "nnclip", model, "fp32", "cpu") as exact:
        reference = features_of(exact)
    with ExitStack() as stack:
        workers = start(model, args, stack, report["skipped"])
        close = {key: agreement(features_of(one), reference) for key, one in workers.items()}
        report["ratios"] |= parity(model, close)
        tasks = [(k, n, workers) for k in ("images", "resident_images") for n in args.batches]
        for pair in PAIRS:  # steps two by two, so that their memory fits beside each other
            two = {key: workers[key] for key in pair if key in workers}
            tasks += [("step", size, two) for size in args.step_batches if two]
        for kind, size, some in tasks:
            cell = timed(some, kind, size, args.rounds, report["skipped"])
            what = {"model": model, "what": kind, "batch": size}
            rows = [{**row(c, **what), "agreement": close[key]} for key, c in cell.items()]
            print_rows(f"{model} {kind}, batch {size}", rows)
            report["rows"] += rows
            report["ratios"] |= compared(cell, model, kind, size)
        found = curves(workers, min(CURVE_BATCH, max(args.step_batches)), args.curve_steps)
    report["losses"][model] = found
    if len(found) == 2:
        value = {"value": round(farthest(found["fp16"], found["fp32"]), 5)}
        name = f"{model} fp16 loss curve, farthest from fp32's"
        report["ratios"][name] = judged(value, most=CURVE_APART)


def compared(cell: dict, model: str, kind: str, size: int) -> dict[str, dict]:
    """nnclip's precisions against torch's counterparts."""
    found = {}
    for ours, theirs in PAIRS:
        if ours in cell and theirs in cell:
            name = f"{model} {kind} {ours[1]}, batch {size}, against torch {theirs[1]}"
            judge = ours[1] == "fp16" and (kind == "step" or size == 256)
            target = LEAST.get(kind) if judge else None
            found[name] = judged(ratio(cell[ours], cell[theirs]), target)
    return found


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print tables and the JSON line; 1 where nothing was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="small,ViT-B/32", help="(%(default)s)")
    parser.add_argument("--batches", type=_numbers, default=[1, 64, 256], help="(1,64,256)")
    parser.add_argument("--step-batches", type=_numbers, default=[256, 1024], help="(256,1024)")
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--curve-steps", type=int, default=CURVE_STEPS, help="(%(default)s)")
    parser.add_argument("--context", default="cudnn", help="(%(default)s)")
    parser.add_argument("--torch-python", default=sys.executable, help="one that has torch")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    driver = find_driver()
    gpus = [f"{one.name}, {one.memory / 2**30:.0f} GiB" for one in driver.devices]
    report: dict[str, Any] = {"benchmark": "gpu", "machine": machine() | {"gpus": gpus}}
    report |= {"measured": True, "rows": [], "ratios": {}, "losses": {}, "skipped": []}
    if args.context != "cpu" and driver.problems:
        report |= {"measured": False, "skipped": driver.problems}
        print("no NVIDIA GPU found: nothing was measured")
        for problem in driver.problems:
            print(f"  {problem}")
    else:
        for model in args.models.split(","):
            measure(model, args, report)
        print_ratios(report["ratios"])
        print("\n".join(f"skipped: {what}" for what in report["skipped"]))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))
    return 0 if report["measured"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
