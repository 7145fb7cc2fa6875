"""What surrounds the training step: data loading, whole epochs, ranks. One table, one JSON line.

- data: pairs per second of the loader against Pillow alone (open, decode, crop, resize) in as many
  processes
- epoch: seconds of train.py's whole loop against its bare steps on one batch, in turns
- ranks: pairs per second on two ranks against one, at the same number of pairs a step
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from nnclip.image import Preprocess  # noqa: E402
from nnclip.training.data.decode import Recipe  # noqa: E402
from nnclip.training.data.loader import Loader  # noqa: E402
from nnclip.training.data.readers import read_pairs  # noqa: E402

CORES = len(os.sched_getaffinity(0))
BATCH = 64


def by_pillow(paths: list[str], resolution: int) -> int:
    """Decode, crop and resize, and nothing else."""
    rng = np.random.default_rng(0)
    for path in paths:
        with Image.open(path) as picture:
            Preprocess(resolution).random_crop(picture, rng)
    return len(paths)


def measure_data(table_path: Path, resolution: int, rounds: int) -> tuple[float, float]:
    """Pairs per second of the loader, and images per second of Pillow alone."""
    table = read_pairs(str(table_path))
    recipe = Recipe(Preprocess(resolution))
    paths = [table[i].path for i in range(len(table))]
    parts = [paths[at : at + 16] for at in range(0, len(paths), 16)]
    loader_rates, pillow_rates = [], []
    with Loader(table, recipe, BATCH, workers=CORES) as loader, ProcessPoolExecutor(CORES) as pool:
        list(pool.map(by_pillow, parts[:2], [resolution] * 2))
        for turn in range(rounds):
            batches = len(table) // BATCH
            began = time.perf_counter()
            spans = (
                loader.stream.draws((turn * batches + k) * BATCH, BATCH) for k in range(batches)
            )
            count = sum(len(batch.captions) for batch in loader.batches(spans))
            loader_rates.append(count / (time.perf_counter() - began))
            began = time.perf_counter()
            count = sum(pool.map(by_pillow, parts, [resolution] * len(parts)))
            pillow_rates.append(count / (time.perf_counter() - began))
    return statistics.median(loader_rates), statistics.median(pillow_rates)


def measure_epoch(flags: list[str], rounds: int) -> tuple[float, float]:
    """Seconds a step of the whole loop, and of bare steps on one batch, in turns."""
    from nnclip.training.communicator import Alone
    from nnclip.training.flags import parse_flags
    from nnclip.training.trainer import Trainer

    config = dataclasses.replace(parse_flags(flags), max_iter=10_000)
    trainer = Trainer(config, Alone(), "cpu")
    steps = max(trainer.state.pairs // config.batch_size, 1)
    whole, bare = [], []
    with trainer.feed.training(Alone(), 0, steps * (rounds + 1)) as batches:
        held = next(batches)
        trainer.one_step(held)
        copied = dataclasses.replace(held, batch=dataclasses.replace(
            held.batch, images=held.batch.images.copy()))  # fmt: skip
        for _ in range(rounds):
            began = time.perf_counter()
            for _ in range(steps):
                trainer.one_step(next(batches))
            whole.append((time.perf_counter() - began) / steps)
            began = time.perf_counter()
            for _ in range(steps):
                trainer.step(copied.batch)
                trainer._optimiser.update(1e-6)
            bare.append((time.perf_counter() - began) / steps)
    return statistics.median(whole), statistics.median(bare)


def measure_ranks(flags: list[str], ranks: int, folder: Path, steps: int) -> float:
    """Pairs per second of train.py on so many ranks that share a batch of `BATCH` pairs."""
    run = folder / f"ranks{ranks}"
    own = [
        "-b",
        str(BATCH // ranks),
        "-ag",
        "-i",
        str(steps),
        "-m",
        str(run),
        "--log-interval",
        "5",
    ]
    mpirun = [str(Path(sys.executable).with_name("mpirun")), "--bind-to", "none", "-n", str(ranks)]
    command = [sys.executable, str(ROOT / "train.py"), *flags, *own]
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1"}
    environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    subprocess.run([*mpirun, *command] if ranks > 1 else command, check=True, env=environment,
                   cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return statistics.median([line["pairs_per_second"] for line in lines[1:]])  # after compiling


def main() -> int:
    """Measure; prints the table and the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    quick = parser.parse_args().quick
    count, rounds = (512, 2) if quick else (2048, 5)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        nnclip = [sys.executable, "-m", "nnclip"]
        table, vocabulary = folder / "pairs.csv", folder / "bpe.json"
        draw = ["draw-pairs", str(folder), "--count", str(count), "--size", "224"]
        train = ["train-tokenizer", str(table), "--column", "title", "-o", str(vocabulary)]
        for command in (draw, [*train, "--vocab-size", "2000"]):
            subprocess.run([*nnclip, *command], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        flags = ["--train-txt-path", str(table), "--model", "tiny", "--tokenizer", str(vocabulary)]
        flags += ["-wi", "1"]
        loader, pillow = measure_data(table, 64, rounds)
        whole, bare = measure_epoch([*flags, "-b", str(BATCH), "-m", str(folder / "e")], rounds)
        one, two = (measure_ranks(flags, ranks, folder, 20 if quick else 60) for ranks in (1, 2))
    ratios = {
        "loader / Pillow": loader / pillow,
        "epoch / bare steps": whole / bare,
        "two ranks / one": two / one,
    }
    print(f"data   loader {loader:8.1f} pairs/s   Pillow alone {pillow:8.1f} pictures/s")
    print(f"epoch  whole  {whole:8.3f} s/step    bare         {bare:8.3f} s/step")
    print(f"ranks  one    {one:8.1f} pairs/s   two          {two:8.1f} pairs/s")
    for name, ratio in ratios.items():
        print(f"{name:20} {ratio:.2f}")
    print(json.dumps({"benchmark": "training_run", "cores": CORES, "ratios": ratios}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
