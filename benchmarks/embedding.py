"""How fast `nnclip embed` is beside the engine that it feeds.

    python benchmarks/embedding.py [--quick] [--model ViT-B/32] [--out FILE]

In every round the model computes batches that lie ready in memory, and then embeds as many JPEG
files: reading, decoding, resizing, computing, writing. Workers decode on the cores on which the
model computes, so what decoding costs is lost to it on a small machine, and on a large one is not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import models
import numpy as np
from measuring import CORES, judged, machine, print_ratios
from PIL import Image

from nnclip.assets import assets_dir
from nnclip.clip import CLIP
from nnclip.image import USUAL_DECODING
from nnclip.search.embed import BATCH, embed_shards, prepare
from nnclip.search.feed import decode
from nnclip.search.manifest import manifest_of
from nnclip.search.sources import list_items
from nnclip.weights.model import save_model

SIZE = (320, 240)  # pixels of an image, as in a data set that was scaled down
FEWEST = 0.9  # of the engine's own speed


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ViT-B/32", choices=models.MODELS, metavar="NAME")
    parser.add_argument("--pictures", type=int, default=512, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=max(1, CORES // 2), help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small model, few images")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    if args.quick:
        args.model, args.pictures, args.rounds = "small", 64, 2
    if os.getloadavg()[0] > CORES / 2:
        print(f"the machine is busy (load {os.getloadavg()[0]:.1f}): figures mean little")
    content = {"benchmark": "embedding", "machine": machine(), "rows": [], **measured(args)}
    print_ratios(content["ratios"])
    if args.out is not None:
        args.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content), flush=True)
    return 0


def measured(args: argparse.Namespace) -> dict:
    """All figures."""
    with tempfile.TemporaryDirectory(prefix="nnclip-embedding-") as temporary:
        folder = Path(temporary)
        save_model(folder / "model.h5", models.random_weights(args.model))
        model = CLIP(folder / "model.h5")
        write_pictures(folder / "in", args.pictures)
        ready = models.pictures(model.config, BATCH)
        model.encode_image(ready)  # compiles
        alone, whole, ratios = [], [], []
        for number in range(args.rounds):
            alone.append(engine_alone(model, ready, args.pictures))
            whole.append(embedding(model, folder, number, args.workers))
            ratios.append(whole[-1] / alone[-1])
        items = list_items([str(folder / "in")])[:32]
        start = time.process_time()
        decode(items, model.config.image.preprocess, USUAL_DECODING)
        decoding = (time.process_time() - start) / len(items)
    rates = {"engine": statistics.median(alone), "embed": statistics.median(whole)}
    ratio = judged({"value": round(statistics.median(ratios), 3)}, least=FEWEST)
    return {
        "model": {"name": args.model, "precision": model.precision},
        "images_per_second": {key: round(value, 1) for key, value in rates.items()},
        "decoding_ms_of_a_core": round(1000 * decoding, 2),
        "picture": {"pixels": SIZE, "count": args.pictures},
        "workers": args.workers,
        "ratios": {f"{args.model} {model.precision}: embed / engine alone": ratio},
    }


def write_pictures(folder: Path, count: int) -> None:
    """Copies of the bundled images, enlarged, with some noise as photographs have."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    sources = sorted((assets_dir() / "examples").glob("*.jpg"))
    for number in range(count):
        with Image.open(sources[number % len(sources)]) as image:
            pixels = np.asarray(image.convert("RGB").resize(SIZE), np.float32)
        noisy = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number}.jpg", quality=90)


def engine_alone(model: CLIP, ready: np.ndarray, count: int) -> float:
    """Images per second of the model, with images that lie in memory."""
    start = time.perf_counter()
    for _ in range(0, count, len(ready)):
        model.encode_image(ready)
    return -(-count // len(ready)) * len(ready) / (time.perf_counter() - start)


def embedding(model: CLIP, folder: Path, number: int, workers: int) -> float:
    """Images per second from files to shards."""
    output = folder / f"EMB{number}"
    prepare(output, manifest_of(model, "", "float16"), [str(folder / "in")], "filepath")
    work = embed_shards(output, model, workers=workers)
    return work.images / work.seconds


if __name__ == "__main__":
    raise SystemExit(main())
