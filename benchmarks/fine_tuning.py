"""What fine-tuning learns and forgets: the bundled model on a drawn domain that is new to it.

    python benchmarks/fine_tuning.py [--pairs 500] [--steps 200] [--figure FILE.svg] [--out FILE]

The new domain is shapes as dots on a dark board (`drawn_mosaics`), the old one shapes as the
bundled model has learnt them. Both tests hold coloured shapes that no training image showed,
and are zero-shot classification among 121 names. Methods differ by flags of train.py alone. The
first one is also mixed with its start (WiSE-FT) for five shares.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from drawn_mosaics import as_mosaics, write_shapes
from measuring import machine

from nnclip.assets import asset
from nnclip.clip import CLIP
from nnclip.commands.training_run import main as train
from nnclip.embeddings import unit
from nnclip.evaluate import tasks
from nnclip.evaluate.labelled import read_labelled
from nnclip.text.prompts import load_class_names
from nnclip.weights.average import average
from nnclip.weights.model import save_model

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
METHODS: dict[str, list[str]] = {
    "full": [],
    "layer decay 0.75": ["--layer-decay", "0.75"],
    "EMA 0.99": ["--ema", "0.99"],
    "image frozen (LiT)": ["--freeze", "image"],
    "text frozen": ["--freeze", "text"],
    "LoRA 8": ["--lr", "1e-3", "--lora", "8"],
}


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=500, help="of the new domain (%(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="of each method (%(default)s)")
    parser.add_argument("--batch", type=int, default=50, help="pairs a step (%(default)s)")
    parser.add_argument("--rate", default="1e-4", help="of whole towers (%(default)s)")
    parser.add_argument("--asked", type=int, default=400, help="images of each test (%(default)s)")
    parser.add_argument("--methods", default=",".join(METHODS), help="some of: %(default)s")
    parser.add_argument("--figure", type=Path, help="drawing of both tables")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        content = {"benchmark": "fine tuning", "machine": machine(), **measure(args, Path(folder))}
    _print("method", content["methods"])
    _print("alpha", content["wise_ft"])
    if args.figure:
        draw(content, args.figure)
    print(json.dumps(content))
    if args.out:
        args.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every method, and the first one mixed with its start."""
    pairs = as_mosaics(write_shapes(folder / "pairs", "train", args.pairs, seed=1))
    tests = {}
    for name, change in (("new", as_mosaics), ("old", lambda table: table)):
        table = change(write_shapes(folder / name, "heldout-shapes", args.asked, seed=413))
        tests[name] = read_labelled(table, load_class_names(folder / name / "shapes.en.txt"))
    start = asset("nnclip.h5")
    methods, mixed = {"start": accuracies(start, tests)}, {}
    for name in args.methods.split(","):
        run = folder / name.split()[0]
        flags = ["-ft", "--model-load-path", str(start), "--train-txt-path", str(pairs)]
        flags += ["-b", str(args.batch), "-i", str(args.steps), "-wi", "0.1", "-m", str(run)]
        flags += ["--lr", args.rate]
        began = time.perf_counter()
        if train([*flags, *METHODS[name]]):
            raise SystemExit(f"{name}: train.py failed")
        seconds = time.perf_counter() - began
        methods[name] = {**accuracies(run / "model.h5", tests), "seconds": seconds}
        if not mixed:
            mixed = {alpha: mixture(start, run / "model.h5", alpha, tests) for alpha in ALPHAS}
    settings = {name: getattr(args, name) for name in ("pairs", "steps", "batch", "rate")}
    return {"settings": settings, "methods": methods, "wise_ft": mixed}


def mixture(start: Path, trained: Path, alpha: float, tests: dict[str, Any]) -> dict[str, float]:
    """Accuracies of the share `alpha` of the trained model and the rest of its start."""
    path = trained.with_name("mixed.h5")
    save_model(path, average([start, trained], alpha))
    return accuracies(path, tests)


def accuracies(path: Path, tests: dict[str, Any]) -> dict[str, float]:
    """Test -> share of right answers."""
    model = CLIP(path, precision="fp32")
    subject = tasks.Subject(
        lambda images: unit(model.encode_image(np.stack([model.preprocess(it) for it in images]))),
        lambda texts: unit(model.encode_text(model.tokenize(texts, truncate=True))),
        model.scorer,
    )
    found = {name: tasks.zero_shot(subject, data, ["{}"])[1] for name, data in tests.items()}
    shares = {name: record["metrics"]["acc1"] for name, record in found.items()}
    print(path.parent.name, path.name, shares, file=sys.stderr, flush=True)
    return shares


def _print(title: str, rows: dict[Any, dict[str, float]]) -> None:
    print(f"{title:20} {'new':>8} {'old':>8} {'seconds':>8}")
    for name, row in rows.items():
        took = f"{row['seconds']:8.0f}" if "seconds" in row else ""
        print(f"{name!s:20} {row['new']:8.1%} {row['old']:8.1%} {took}")


def draw(content: dict[str, Any], path: Path) -> None:
    """Both tables as two panels, for docs/fine-tuning.md."""
    from nnclip.evaluate.figures.style import BLUE, FAINT, GREEN, new_figure, styled

    with styled():
        figure = new_figure(9.6, 4.0)
        left, right = figure.subplots(1, 2)
        curve = content["wise_ft"]
        alphas = [float(alpha) for alpha in curve]
        for name, colour in (("new", BLUE), ("old", GREEN)):
            values = [row[name] for row in curve.values()]
            left.plot(alphas, values, "o-", color=colour, label=f"{name} domain")
        left.set(title="WiSE-FT", xlabel="share of the fine-tuned weights", xticks=alphas)
        left.legend()
        points = content["methods"]
        for name, row in points.items():
            right.plot(row["new"], row["old"], "o", color=FAINT if name == "start" else BLUE)
            far = row["new"] > np.mean([one["new"] for one in points.values()])
            right.annotate(
                name, (row["new"], row["old"]), (-7 if far else 7, -3),
                textcoords="offset points", ha="right" if far else "left",
            )  # fmt: skip
        right.set(title="Methods", xlabel="accuracy, new domain", ylabel="old domain")
        for axes in (left, right):
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            axes.grid(True)
        right.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        right.margins(0.2)
        figure.savefig(path, bbox_inches="tight")


if __name__ == "__main__":
    raise SystemExit(main())
