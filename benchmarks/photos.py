"""How fast whole photos become pixels and embeddings, and how near to exact pixels they stay.

    python benchmarks/photos.py [--quick] [--photos 200] [--rounds 5] [--out FILE]

The photos are drawn: 12 million pixels, 3 to 5 MB, as phones write them. All ways take turns.

- file to pixels: seconds of one core's time for a file. `exact` decodes every pixel, as nnclip did
  before; `floor` is what no way with libjpeg falls below: its entropy decoding, measured as an
  eighth in grey, of which almost no pixel is computed.
- core time: what a photo takes of all cores together, reading, hashing, decoding and computing.
  It says what a quiet machine gives where this one is busy.
- embedding: of at least 128 photos, because the first batch is decoded before the clock starts;
  files to shards on all cores. `before` is exact, with half as many workers as cores.
  open_clip reads the same files with its own transform in torch's DataLoader.
- agreement: the least cosine of features from reduced files with those of every pixel. Random
  weights at 224, 336 and 384; the bundled model was trained.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import models
import numpy as np
from drawn_photos import SIZE, Drawer
from measuring import CORES, agreement, installed, judged, machine, print_ratios
from PIL import Image

from nnclip.clip import CLIP
from nnclip.host import cores
from nnclip.image import USUAL_DECODING, Decoding, Preprocess
from nnclip.search.embed import BATCH, embed_decoded, embed_shards, prepare
from nnclip.search.feed import decode
from nnclip.search.manifest import manifest_of
from nnclip.search.sources import list_items
from nnclip.weights.model import save_model

EXACT = Decoding(exact=True)
RESOLUTIONS = (224, 336, 384)
LEAST_COSINE = 0.999
FEWEST = 4 * BATCH  # photos that are embedded whole
PIXELS_TARGET = 3.5  # times as fast as every pixel
EMBED_TARGETS = {"int8": 2.7, "fp32": 2.0}
PEER_TARGETS = {"best": 3.5, "fp32": 2.2}

Spread = dict[str, float]


def main(argv: list[str] | None = None) -> int:
    """Measure, print tables and one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of embedding (%(default)s)")
    parser.add_argument("--workers", type=int, default=cores(), help="(%(default)s)")
    parser.add_argument("--model", default="ViT-B/32", choices=models.MODELS, metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="few photos, one round")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    if args.quick:
        args.photos, args.rounds = min(args.photos, 24), 1
    if os.getloadavg()[0] > CORES / 2:
        print(f"the machine is busy (load {os.getloadavg()[0]:.1f}): figures mean little")
    content = {"benchmark": "photos", "machine": machine(), "quick": args.quick}
    with tempfile.TemporaryDirectory(prefix="nnclip-photos-") as temporary:
        folder = Path(temporary)
        files = Drawer().write(folder / "photos", args.photos)
        sizes = [file.stat().st_size / 1e6 for file in files]
        about = {"count": len(files), "pixels": SIZE, "megabytes": statistics.median(sizes)}
        content |= {"photos": about, **file_to_pixels(files[:32])}
        content["agreement"] = agreements(folder, files[:32])
        content |= embedding(args, folder, files[:BATCH])
    content["ratios"] = ratios(content)
    print_ratios(content["ratios"])
    if args.out is not None:
        args.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content), flush=True)
    return 0


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles."""
    low, high = np.percentile(values, (25, 75))
    found = {"median": statistics.median(values), "lower_quartile": low, "upper_quartile": high}
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def file_to_pixels(files: Sequence[Path]) -> dict:
    """Milliseconds of one core for a file, by way; each way in turn for each file."""
    ways: dict[str, Callable[[bytes], object]] = {"floor": entropy_decoding}
    for resolution in RESOLUTIONS:
        for name, decoding in (("exact", EXACT), ("reduced", USUAL_DECODING)):
            ways[f"{name} {resolution}"] = partial(Preprocess(resolution).planes, decoding=decoding)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for file in files:
        content = file.read_bytes()
        for name, way in ways.items():
            start = time.process_time()
            way(content)
            taken[name].append(1000 * (time.process_time() - start))
    found = {name: spread(values) for name, values in taken.items()}
    faster = {
        str(resolution): spread(
            np.divide(taken[f"exact {resolution}"], taken[f"reduced {resolution}"]).tolist()
        )
        for resolution in RESOLUTIONS
    }
    print(f"\n{'file to pixels, ms of one core':44} {'median':>8} {'quartiles':>17}")
    for name, one in found.items():
        quartiles = f"{one['lower_quartile']:.1f} - {one['upper_quartile']:.1f}"
        print(f"  {name:42} {one['median']:8.1f} {quartiles:>17}")
    return {"milliseconds_of_a_core": found, "times_as_fast": faster}


def entropy_decoding(content: bytes) -> None:
    """What libjpeg cannot leave out; an eighth in grey computes one value of 64 beside it."""
    image = Image.open(BytesIO(content))
    image.draft("L", (1, 1))
    image.load()


def agreements(folder: Path, files: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Least cosines of features of reduced files with those of every pixel, by model."""
    base = models.MODELS["ViT-B/16"]
    models.MODELS |= {
        f"ViT-B/16 at {r}": replace(base, image=replace(base.image, preprocess=Preprocess(r)))
        for r in RESOLUTIONS
    }
    found = {"bundled": agreement_of(CLIP(precision="fp32"), files)}
    for resolution in RESOLUTIONS:
        name = f"ViT-B/16 at {resolution}"
        save_model(folder / "model.h5", models.random_weights(name))
        found[name] = agreement_of(CLIP(folder / "model.h5", precision="fp32"), files[:4])
    for name, one in found.items():
        print(f"  least cosine, {name:28} {one['least_cosine']:.7f}")
    return found


def agreement_of(model: CLIP, files: Sequence[Path]) -> dict[str, float]:
    """Of one model."""
    rows = [
        np.concatenate([model.encode_image(model.preprocess_image(f, how)) for f in files])
        for how in (USUAL_DECODING, EXACT)
    ]
    return agreement(rows[0], rows[1])


def embedding(args: argparse.Namespace, folder: Path, files: Sequence[Path]) -> dict:
    """Photos per second from files to shards, by precision and way; all ways take turns."""
    save_model(folder / "model.h5", models.random_weights(args.model))
    whole = args.photos >= FEWEST
    if not whole:
        print(f"skipped: embedding whole files, of {args.photos} photos: expected {FEWEST} or more")
    ways: dict[str, Callable[[int], float]] = {}
    spent: dict[str, Spread] = {}
    for precision in EMBED_TARGETS:
        model = CLIP(folder / "model.h5", precision=precision)
        ready = models.pictures(model.config, BATCH)
        model.encode_image(ready)  # compiles
        spent |= core_time(model, precision, files)
        ways[f"engine alone {precision}"] = partial(engine_alone, model, ready)
        files_of = partial(embedded, model, folder, precision)
        ways[f"before {precision}"] = partial(files_of, EXACT, max(1, CORES // 2))
        ways[f"now {precision}"] = partial(files_of, USUAL_DECODING, args.workers)
    if whole and installed("torch", "open_clip"):
        for precision in ("fp32", "bf16"):
            ways[f"open_clip {precision}"] = open_clip(args.model, folder / "photos", precision)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(args.rounds if whole else 0):
        for name, way in ways.items():
            rates[name].append(way(number))
    found = {name: spread(values) for name, values in rates.items() if values}
    print(f"\n{f'embedding {args.photos} photos by {args.model}, a second':44} {'median':>8}")
    for name, one in found.items():
        print(f"  {name:42} {one['median']:8.2f}")
    about = {"model": args.model, "workers": args.workers, "core_time": spent}
    return {**about, "photos_per_second": found}


def core_time(model: CLIP, precision: str, files: Sequence[Path]) -> dict[str, Spread]:
    """Milliseconds of all cores together for a photo, by way."""
    taken: dict[str, list[float]] = {f"before {precision}": [], f"now {precision}": []}
    items = list_items([str(file) for file in files])
    for number in range(5):
        part = items[4 * number % len(items) :][:4]
        for name, decoding in zip(taken, (EXACT, USUAL_DECODING), strict=True):
            start = time.process_time()
            embed_decoded(model, decode(part, model.config.image.preprocess, decoding))
            taken[name].append(1000 * (time.process_time() - start) / len(part))
    for name, values in taken.items():
        print(f"  core time of a photo, ms, {name:28} {statistics.median(values):8.1f}")
    return {name: spread(values) for name, values in taken.items()}


def engine_alone(model: CLIP, ready: np.ndarray, _: int) -> float:
    """Images per second of the model, with images that lie in memory."""
    start = time.perf_counter()
    for _ in range(4):
        model.encode_image(ready)
    return 4 * len(ready) / (time.perf_counter() - start)


def embedded(
    model: CLIP, folder: Path, precision: str, decoding: Decoding, workers: int, number: int
) -> float:
    """Images per second from files to shards."""
    output = folder / f"EMB-{precision}-{decoding.exact}-{number}"
    wanted = manifest_of(model, "", "float16", decoding.exact, decoding.as_seen)
    prepare(output, wanted, [str(folder / "photos")], "filepath")
    work = embed_shards(output, model, workers=workers)
    return work.images / work.seconds


def open_clip(name: str, photos: Path, precision: str) -> Callable[[int], float]:
    """A way that embeds a folder with open_clip, its transform and torch's DataLoader."""
    import torch
    from open_clip import create_model_and_transforms

    torch.set_num_threads(CORES)
    model, _, transform = create_model_and_transforms(name.replace("/", "-"), force_quick_gelu=True)
    model = model.eval()
    files = sorted(photos.glob("*.jpg"))

    class Photos(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> torch.Tensor:
            return transform(Image.open(files[index]))

    def run(_: int) -> float:
        loader = torch.utils.data.DataLoader(Photos(), BATCH, num_workers=CORES)
        lower = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
        count, start = 0, 0.0
        with torch.no_grad(), lower:
            for images in loader:
                start = start or time.perf_counter()  # as for nnclip: workers take time to start
                count += len(model.encode_image(images))
        return count / (time.perf_counter() - start)

    return run


def ratios(content: dict) -> dict[str, dict]:
    """What the figures come to, beside their targets."""
    rates = {name: one["median"] for name, one in content["photos_per_second"].items()}
    found = {
        f"file to pixels at {resolution}: times as fast as every pixel": judged(
            {"value": one["median"]}, PIXELS_TARGET if resolution == "224" else None
        )
        for resolution, one in content["times_as_fast"].items()
    }
    cores_ms = {name: one["median"] for name, one in content["milliseconds_of_a_core"].items()}
    share = cores_ms["floor"] / cores_ms["reduced 224"]
    found["share of libjpeg's entropy decoding in file to pixels"] = judged({"value": share})
    for precision, target in EMBED_TARGETS.items():
        spent = {way: content["core_time"][f"{way} {precision}"] for way in ("before", "now")}
        found[f"core time {precision}: before / now"] = judged(
            {"value": spent["before"]["median"] / spent["now"]["median"]}, target
        )
        if not rates:
            continue
        now, alone = rates[f"now {precision}"], rates[f"engine alone {precision}"]
        of_before = {"value": now / rates[f"before {precision}"]}
        found[f"embed {precision}: now / before"] = judged(of_before, target)
        found[f"embed {precision}: now / engine alone"] = judged({"value": now / alone})
        # every core decodes and computes: no order of the two takes less time
        possible = 1 / (1 / alone + cores_ms["floor"] / 1000 / CORES)
        found[f"embed {precision}: now / engine and floor on all cores"] = judged(
            {"value": now / possible}
        )
    peers = {name: rate for name, rate in rates.items() if name.startswith("open_clip")}
    if peers:
        best = max(rates[f"now {precision}"] for precision in EMBED_TARGETS) / max(peers.values())
        alike = rates["now fp32"] / peers["open_clip fp32"]
        found["best precision each: nnclip / open_clip"] = judged(
            {"value": best}, PEER_TARGETS["best"]
        )
        found["fp32: nnclip / open_clip"] = judged({"value": alike}, PEER_TARGETS["fp32"])
    for name, one in content["agreement"].items():
        found[f"least cosine, {name}"] = judged({"value": one["least_cosine"]}, LEAST_COSINE)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
