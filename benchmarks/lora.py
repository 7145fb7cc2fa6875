"""LoRA against full fine-tuning: time of a step, bytes that training holds, peak memory.

    python benchmarks/lora.py [--model ViT-B/32] [--batch 16] [--rank 8] [--rounds 9] [--out FILE]

Both take turns in one process for the time. Weights, gradients and moments are counted by the
arrays that a run holds; the peak is that of a process that trains one way alone, and holds what
the compiler needs, too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import models
import numpy as np
from measuring import Contender, machine, ratio, take_turns

from nnclip.host import peak_memory
from nnclip.training.batch import Batch
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.solvers import make_optimiser
from nnclip.training.step import ContrastiveStep, step_maker
from nnclip.weights.lora import Rank, with_adapters

WAYS = ("full", "lora")
TOKENS = 16


class Training:
    """One way of training, ready to step."""

    def __init__(self, args: argparse.Namespace, way: str) -> None:
        """Make the model with random weights, and a batch."""
        weights = models.random_weights(args.model)
        if way == "lora":
            rank = Rank(args.rank, float(args.rank))
            weights = with_adapters(weights, rank, "attention,mlp", seed=1)
        self._variables = weights.variables()
        config = weights.config
        images = models.pictures(config, args.batch)
        self._batch = Batch(images, models.captions(config, args.batch, TOKENS))
        self._step = ContrastiveStep(config, weights.scope, Alone(), step_maker(True))
        self._optimiser = make_optimiser(TrainConfig(), self._variables, on_cpu=True)

    def __call__(self) -> None:
        """Forward, backward, update."""
        self._step(self._batch)
        self._optimiser.update(1e-6)

    def held(self) -> dict[str, int]:
        """Bytes of weights, gradients and moments."""
        trained = [v for v in self._variables.values() if v.need_grad]
        return {
            "weights": sum(4 * v.size for v in self._variables.values()),
            "gradients": sum(4 * v.size for v in trained),
            "moments": sum(a.nbytes for a in self._optimiser.state().values()),
        }


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ViT-B/32", choices=models.MODELS, metavar="NAME")
    parser.add_argument("--batch", type=int, default=16, help="pairs a step (%(default)s)")
    parser.add_argument("--rank", type=int, default=8, help="of the adapters (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small model, two rounds")
    parser.add_argument("--peak", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    if args.quick:
        args.model, args.rounds = "tiny", 2
    if args.peak:
        training = Training(args, args.peak)
        for _ in range(3):
            training()
        print(peak_memory())
        return 0
    content = {"benchmark": "lora", "machine": machine(), **measured(args)}
    for way in WAYS:
        row = content[way]
        told = ", ".join(f"{name} {size / 2**20:,.0f} MiB" for name, size in row["held"].items())
        print(f"{way:5} {row['seconds']:.3f} s a step, {told}, peak {row['peak'] / 2**20:,.0f} MiB")
    print("lora / full: " + ", ".join(f"{k} {v:.3f}" for k, v in content["ratios"].items()))
    print(json.dumps(content))
    if args.out:
        args.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Both ways, and what is between them."""
    peaks = {way: _peak(args, way) for way in WAYS}
    both = {way: Training(args, way) for way in WAYS}
    contenders = {way: Contender(way, "fp32", both[way], args.batch) for way in WAYS}
    take_turns(list(contenders.values()), args.rounds, patience=600)
    held = {way: both[way].held() for way in WAYS}
    rows = {
        way: {
            "seconds": float(np.median(contenders[way].seconds)),
            "held": held[way],
            "peak": peaks[way],
        }
        for way in WAYS
    }
    ratios = {
        "step time": ratio(contenders["full"], contenders["lora"])["value"],
        "weights, gradients and moments": sum(held["lora"].values()) / sum(held["full"].values()),
        "peak memory": peaks["lora"] / peaks["full"],
    }
    settings = {"model": args.model, "batch": args.batch, "rank": args.rank}
    return {"settings": settings, **rows, "ratios": ratios}


def _peak(args: argparse.Namespace, way: str) -> int:
    """Bytes at the peak of a process that trains this way alone."""
    told = ["--model", args.model, "--batch", str(args.batch), "--rank", str(args.rank)]
    command = [sys.executable, __file__, *told, "--peak", way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


if __name__ == "__main__":
    raise SystemExit(main())
