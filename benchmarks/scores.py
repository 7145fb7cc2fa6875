"""Whether scores are worth their time: pairs a second, and training on what a filter keeps.

    python benchmarks/scores.py [--quick] [--rate ViT-B/32] [--out FILE]

- rate: pairs a second of `nnclip score`, against decoding and embedding the same images and
  captions in one loop and comparing nothing, in turns
- filter: drawn pairs, WRONG of which get another image's caption; the bundled model scores them,
  and a small model is trained from scratch on the best of them, for as many steps each time; R@1
  on images that no training saw. Beside it, the pairs whose captions are right (`right alone`).
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import models
import numpy as np
from measuring import CORES, Contender, machine, take_turns

from nnclip.clip import CLIP
from nnclip.drawing.writer import TABLE, Order, write_table
from nnclip.evaluate.ranks import Ranks
from nnclip.image import USUAL_DECODING
from nnclip.scores.scoring import TEXTS, Task, score
from nnclip.search.embed import BATCH, batches, embed_decoded
from nnclip.search.feed import Feed
from nnclip.search.sources import Item
from nnclip.training.data.pairs import by_image
from nnclip.training.data.readers import read_pairs
from nnclip.weights.model import save_model

ROOT = Path(__file__).parents[1]
SEED, WRONG, HELD = 24, 0.3, 500
KEPT, QUICK = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5), (1.0, 0.7)
MODEL = "resnet:64,16,1,1,1,1+gpt:128,3"


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", default="ViT-B/32", choices=models.MODELS, metavar="NAME")
    parser.add_argument("--pairs", type=int, default=2048, help="of the rate (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--drawn", type=int, default=6000, help="to filter (%(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="on all of them (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="few pairs, small models")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    args.kept = QUICK if args.quick else KEPT
    if args.quick:
        args.rate, args.pairs, args.rounds, args.drawn, args.epochs = "small", 256, 2, 400, 2
    with tempfile.TemporaryDirectory(prefix="nnclip-scores-") as folder:
        content = {"benchmark": "scores", "machine": machine(), "rate": rate(args, Path(folder))}
        content["filter"] = filtered(args, Path(folder))
    told = content["rate"]
    print(
        f"{told['model']}: {told['score']:.1f} pairs/s scored, {told['both sides']:.1f} embedded: "
        f"{told['ratio']:.3f}"
    )
    print(f"wrong captions score below right ones: {content['filter']['auc']:.4f} of all couples")
    for name, row in content["filter"]["kept"].items():
        print(
            f"{name:12} {row['pairs']:6,} pairs, {row['wrong']:6.1%} wrong  R@1 of images "
            f"{row['image']:.3f}  of texts {row['text']:.3f}"
        )
    if args.out is not None:
        args.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content), flush=True)
    return 0


def draw(folder: Path, count: int, start: int = 0) -> list[dict[str, str]]:
    """Draw pairs; the rows of their table, with absolute paths."""
    order = Order(folder, count, SEED, size=160, languages=("en",), start=start)
    for _ in write_table(order, CORES):
        pass
    with open(folder / TABLE, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [{"filepath": str(folder / r["filepath"]), "title": r["title"]} for r in rows]


def write(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Write a table of pairs."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["filepath", "title"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def rate(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Pairs a second, scored and embedded alone."""
    save_model(folder / "model.h5", models.random_weights(args.rate))
    model = CLIP(folder / "model.h5")
    pairs = by_image(read_pairs(str(write(folder / "rate.csv", draw(folder / "a", args.pairs)))))
    task = Task(pairs, model, USUAL_DECODING, CORES, BATCH, 0.98)
    items = [Item(pairs[row].path, pairs[row].path) for row in range(len(pairs))]
    texts = list(dict.fromkeys(pairs.captions()))

    def both() -> None:
        with Feed(model.config.image.preprocess, USUAL_DECODING, CORES) as feed:
            for decoded in feed.batches(batches(items, BATCH)):
                embed_decoded(model, decoded)
        for at in range(0, len(texts), TEXTS):
            model.encode_text(model.tokenize(texts[at : at + TEXTS], truncate=True))

    ways = [
        Contender("score", model.precision, lambda: score(task, folder / "p", Ranks()), len(pairs)),
        Contender("both sides", model.precision, both, len(pairs)),
    ]
    take_turns(ways, args.rounds, patience=600)
    ratio = float(np.median(np.divide(ways[1].seconds, ways[0].seconds)))
    rates = {way.implementation: way.per_second()["median"] for way in ways}
    return {"model": args.rate, "precision": model.precision, **rates, "ratio": ratio}


def filtered(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """R@1 after training on what is kept."""
    rows, rng = draw(folder / "b", args.drawn), np.random.default_rng(SEED)
    wrong = rng.choice(len(rows), round(WRONG * len(rows)), replace=False)
    titles = [rows[number]["title"] for number in np.roll(wrong, 1)]
    mixed = [dict(row) for row in rows]
    for number, title in zip(wrong, titles, strict=True):
        mixed[number]["title"] = title
    is_wrong = np.array([a["title"] != b["title"] for a, b in zip(rows, mixed, strict=True)])
    held = write(folder / "held.csv", draw(folder / "c", min(HELD, args.drawn), args.drawn))
    table = by_image(read_pairs(str(write(folder / "mixed.csv", mixed))))
    task = Task(table, CLIP(), USUAL_DECODING, CORES, BATCH, 0)
    found = score(task, folder / "parts", Ranks())
    assert found is not None
    order = np.argsort(-found.cosines, kind="stable")
    ranks = np.argsort(np.argsort(found.cosines))
    bad, good = int(is_wrong.sum()), int((~is_wrong).sum())
    auc = (ranks[~is_wrong].sum() - good * (good - 1) / 2) / (bad * good)
    shares = {f"best {share:.0%}": order[: round(share * len(order))] for share in args.kept}
    shares["right alone"] = np.flatnonzero(~is_wrong)
    kept = {}
    for name, numbers in shares.items():
        path = write(folder / "kept.csv", [mixed[number] for number in numbers])
        told = {"pairs": len(numbers), "wrong": float(is_wrong[numbers].mean())}
        epochs = round(args.epochs * len(rows) / len(numbers))  # as many steps
        kept[name] = {**told, **_trained(path, held, folder / name.replace(" ", "-"), epochs)}
    return {"drawn": len(rows), "wrong": WRONG, "epochs": args.epochs, "auc": float(auc),
            "model": MODEL, "kept": kept}  # fmt: skip


def _trained(pairs: Path, held: Path, folder: Path, epochs: int) -> dict[str, float]:
    """R@1 both ways of a small model trained from scratch."""
    weights = folder / "model.h5"
    command = [
        *(sys.executable, "train.py", "--train-txt-path", str(pairs), "--model", MODEL, "-b", "64"),
        *("-ep", str(epochs), "--lr", "1e-3", "--seed", str(SEED)),
        *("--monitor-path", str(folder), "-o", str(weights)),
    ]
    _run(command)
    told = _run([
        *(sys.executable, "-m", "nnclip", "evaluate", "retrieval", str(held), "-m", str(weights)),
        "--json",
    ])  # fmt: skip
    metrics = json.loads(told.splitlines()[-1])["metrics"]
    return {side: metrics[f"{side}_retrieval_recall@1"] for side in ("image", "text")}


def _run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
