"""Whether maps are true, and what they cost: pointing, deletion, insertion, regions, seconds.

    python benchmarks/explain.py [--quick] [--model FILE] [--cost ViT-B/32] [--out FILE]

Scenes hold two objects of pairs that no training image showed. A method points right if the highest
place of an object's map lies in the object's box. For deletion, places are painted in the image's
mean colour, from the highest of the map down; the area under the cosine tells how fast the text
is lost; insertion goes the other way. Both are compared with random orders, scene by scene,
with a 95 % interval by the bootstrap. Regions are compared with those that were painted: the mean
over the background and both objects of intersection over union, with borders refined and not,
beside an image that is all background. Costs are medians of calls in turn, in answers.

Axes: G places along a side, R resolution.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import models
import numpy as np
from measuring import Contender, machine, take_turns
from PIL import Image

from nnclip.clip import CLIP
from nnclip.drawing.captions import language_of, name_of
from nnclip.drawing.painting import paint, paint_masked
from nnclip.drawing.scene import Scene, compose
from nnclip.embeddings import unit
from nnclip.explain import METHODS, explain
from nnclip.explain.dense import DENSE
from nnclip.explain.subject import Subject
from nnclip.weights.model import save_model

SEED, SIZE, STEPS = 24, 256, 8


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="an .h5; default: the bundled one")
    parser.add_argument("--cost", default="ViT-B/32", choices=models.MODELS, metavar="NAME")
    parser.add_argument("--scenes", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="few scenes, a small model for costs")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    if args.quick:
        args.scenes, args.rounds, args.cost = 6, 2, "small"
    content = {"benchmark": "explain", "machine": machine(), **truth(args), **costs(args)}
    content["regions"] = regions(args)
    print(f"middle of the image: {content['centre']:.3f} point right")
    for name, row in content["methods"].items():
        told = "  ".join(
            f"{what} {row[what]['mean']:+.3f} [{row[what]['low']:+.3f}, {row[what]['high']:+.3f}]"
            for what in ("deletion", "insertion")
        )
        print(f"{name:10} points right {row['pointing']:.3f}  {told}")
    for name, row in content["regions"].items():
        print(f"{name:22} mIoU {row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]")
    for name, value in content["cost_in_answers"].items():
        print(f"{name:10} {value:.2f} answers of {args.cost} a map")
    if args.out is not None:
        args.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content), flush=True)
    return 0


def truth(args: argparse.Namespace) -> dict[str, Any]:
    """How often each method points right, and what deleting and inserting by its maps changes."""
    model, rng = CLIP(args.model, precision="fp32"), np.random.default_rng(SEED)
    scenes = two_objects(args.scenes)
    hits: dict[str, list[bool]] = {name: [] for name in (*METHODS, "centre")}
    areas: dict[str, list[tuple[float, float]]] = {name: [] for name in METHODS}
    for scene in scenes:
        image = paint(scene, SIZE)
        names = [name_of(item.what, "en") for item in scene.items]
        hits["centre"] += [_inside(item, 0.5, 0.5) for item in scene.items]
        curves = partial(by_order, model, image, unit(model.encode_text(model.tokenize(names))))
        for name in METHODS:
            maps = model.explain(image, names, name)
            chance = curves(rng.random(maps.shape))
            for found, expected in zip(curves(maps), chance, strict=True):
                areas[name].append((found[0] - expected[0], found[1] - expected[1]))
            for each, item in zip(maps, scene.items, strict=True):
                row, column = divmod(int(each.argmax()), each.shape[1])
                side = each.shape[1]
                hits[name].append(_inside(item, (column + 0.5) / side, (row + 0.5) / side))
    methods = {
        name: {
            "pointing": float(np.mean(hits[name])),
            "deletion": _interval(np.array(areas[name])[:, 0], rng),
            "insertion": _interval(np.array(areas[name])[:, 1], rng),
        }
        for name in METHODS
    }
    return {"scenes": len(scenes), "centre": float(np.mean(hits["centre"])), "methods": methods}


def regions(args: argparse.Namespace) -> dict[str, Any]:
    """The mean intersection over union of regions, per method."""
    model, rng = CLIP(args.model, precision="fp32"), np.random.default_rng(SEED)
    english = language_of("en")
    scores: dict[str, list[float]] = {}
    for scene in two_objects(args.scenes):
        image, shown = paint_masked(scene, SIZE)
        names = [name_of(item.what, "en") for item in scene.items]
        texts = [english.place(scene.background), *names]
        found = {"all background": np.zeros_like(shown)}
        for name in DENSE:
            found[name] = model.segment(image, texts, name)
            found[f"{name}, not refined"] = model.segment(image, texts, name, refine=False)
        for name, labels in found.items():
            scores.setdefault(name, []).append(_overlap(labels, shown, len(texts)))
    return {name: _interval(np.array(values), rng) for name, values in scores.items()}


def _overlap(found: np.ndarray, expected: np.ndarray, count: int) -> float:
    both = [((found == n) & (expected == n)).sum() for n in range(count)]
    either = [((found == n) | (expected == n)).sum() for n in range(count)]
    return float(np.mean([a / b for a, b in zip(both, either, strict=True) if b]))


def two_objects(count: int) -> list[Scene]:
    """Held-out scenes with two objects, the first there are."""
    found: list[Scene] = []
    index = 0
    while len(found) < count:
        scene = compose("heldout", SEED, index)
        found += [scene] * (len(scene.items) == 2)
        index += 1
    return found


def _inside(item: Any, x: float, y: float) -> bool:
    return max(abs(x - item.at[0]), abs(y - item.at[1])) <= item.extent / 2


def by_order(
    model: CLIP, image: Image.Image, text_TE: np.ndarray, maps_TGG: np.ndarray
) -> list[tuple[float, float]]:
    """For each text, areas under the cosine while places go, and while they come."""
    whole = np.asarray(image.convert("RGB"), np.uint8)
    grey = np.broadcast_to(whole.mean((0, 1)).astype(np.uint8), whole.shape)
    found = []
    for text_E, each in zip(text_TE, maps_TGG, strict=True):
        smooth = Image.fromarray(each.astype("f4")).resize(whole.shape[1::-1], Image.BICUBIC)
        ranks = np.argsort(np.argsort(-np.asarray(smooth), axis=None)).reshape(whole.shape[:2])
        gone = [ranks < whole[..., 0].size * step / STEPS for step in range(STEPS + 1)]
        steps = [np.where(mask[..., None], grey, whole) for mask in gone]
        steps += [np.where(mask[..., None], whole, grey) for mask in gone]
        rows = np.stack([model.preprocess(Image.fromarray(step)) for step in steps])
        cosines = unit(model.encode_image(rows)) @ text_E
        found.append((float(cosines[: STEPS + 1].mean()), float(cosines[STEPS + 1 :].mean())))
    return found


def _interval(values: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """The mean and its 95 % interval by the bootstrap."""
    means = rng.choice(values, (2000, len(values))).mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def costs(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a map of one text, in answers for one image."""
    with tempfile.TemporaryDirectory(prefix="nnclip-explain-") as folder:
        path = Path(folder) / "model.h5"
        save_model(path, models.random_weights(args.cost))
        model = CLIP(path)
        image = paint(two_objects(1)[0], model.config.image.resolution)
        text_TE = unit(model.encode_text(model.tokenize(["a dog"])))
        ready = model.preprocess(image)[None]
        ways = [Contender("answer", model.precision, lambda: model.encode_image(ready), 1)]
        for name in METHODS:
            own = Subject(model._subject().weights, model.precision)  # no other's graph leaves it
            call = partial(explain, own, image, text_TE, name)
            ways.append(Contender(name, model.precision, call, 1))
        take_turns(ways, args.rounds, patience=20)
    answer = ways[0].seconds
    ratios = {
        way.implementation: float(np.median(np.divide(way.seconds, answer))) for way in ways[1:]
    }
    return {"model": args.cost, "precision": model.precision, "cost_in_answers": ratios}


if __name__ == "__main__":
    raise SystemExit(main())
