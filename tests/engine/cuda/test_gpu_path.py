"""Answers and training on the way that GPUs take, from the command line to the numbers.

The machine's extension is a fake whose arrays are the CPU's, so NNabla falls back to its functions
for CPUs: contexts, batches, solvers and loss scales are a GPU's, float16 is not.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
COMPARE = """
import sys
import numpy as np
from nnclip import clip
exact = clip.CLIP(sys.argv[1], precision="fp32")
gpu = clip.CLIP(sys.argv[1], context="cudnn", precision="fp16")
images = np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32)
ids = gpu.tokenize(["a dog", "two cats and a long sentence about them", "one"])
errors = [np.abs(gpu.encode_image(images) - exact.encode_image(images)).max()]
errors += [np.abs(gpu.encode_text(ids) - exact.encode_text(ids)).max()]
print(gpu.precision, max(errors) < 1e-5)
"""


@pytest.fixture
def on_gpu(whole):
    """Runs Python on the machine with a GPU."""

    def run(*arguments, launcher=()):
        paths = {
            "PYTHONPATH": os.pathsep.join([str(whole.site), str(ROOT)]),
            "LD_LIBRARY_PATH": str(whole.driver),
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        }
        return subprocess.run(
            [*launcher, sys.executable, *map(str, arguments)],
            env={**os.environ, **paths},
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    rows = ["filepath\ttitle"]
    for number in range(8):
        pixels = np.full((32, 32, 3), 30 * number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(f"{number}.png\tgrey number {number}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return folder / "pairs.csv"


def flags(small_h5, pairs, folder):
    found = ["-ft", "--model-load-path", small_h5, "--train-txt-path", pairs, "-b", 4, "-i", 3]
    return [ROOT / "train.py", *found, "-wi", 0, "--lr", "1e-4", "--workers", 0, "-m", folder]


def losses(folder: Path) -> list[float]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def test_features_of_a_gpus_context_are_those_of_the_processor(on_gpu, small_h5):
    done = on_gpu("-c", COMPARE, small_h5)
    assert done.stdout == "fp16 True\n", done.stderr


def test_training_in_half_with_scaled_losses_follows_float(on_gpu, small_h5, pairs, tmp_path):
    common = ["--log-interval", 1]
    half = on_gpu(*flags(small_h5, pairs, tmp_path / "half"), "-c", "cudnn", "-t", "half", *common)
    assert half.returncode == 0, half.stderr
    exact = on_gpu(*flags(small_h5, pairs, tmp_path / "cpu"), "-c", "cpu", *common)
    assert exact.returncode == 0, exact.stderr
    assert losses(tmp_path / "half") == pytest.approx(losses(tmp_path / "cpu"), rel=1e-4)
    assert len(losses(tmp_path / "half")) == 3


def test_without_a_flag_training_takes_the_gpu_and_tf32_is_passed_on(
    on_gpu, small_h5, pairs, tmp_path
):
    done = on_gpu(*flags(small_h5, pairs, tmp_path / "run"), "--tf32", "on")
    assert done.returncode == 0, done.stderr
    assert "cudnn" in (tmp_path / "run" / "resolved.yaml").read_text()


def test_ranks_whose_gpus_cannot_speak_end_with_a_sentence(on_gpu, small_h5, pairs, tmp_path):
    mpirun = [Path(sys.executable).with_name("mpirun"), "--bind-to", "none", "--oversubscribe"]
    done = on_gpu(
        *flags(small_h5, pairs, tmp_path / "run"), "-c", "cudnn", launcher=[*mpirun, "-n", "2"]
    )
    assert done.returncode != 0
    assert "several GPUs cannot work together here" in done.stderr


def test_an_evaluation_on_ranks_loads_the_extension_before_mpi(on_gpu, small_h5, tmp_path):
    for number, name in enumerate(("dark", "light")):
        (tmp_path / "data" / name).mkdir(parents=True)
        picture = Image.new("RGB", (32, 32), (200 * number,) * 3)
        picture.save(tmp_path / "data" / name / "0.png")
    mpirun = [Path(sys.executable).with_name("mpirun"), "--bind-to", "none", "--oversubscribe"]
    command = ["-m", "nnclip", "evaluate", "zero-shot", tmp_path / "data", "-m", small_h5]
    done = on_gpu(*command, "-c", "cudnn", "--json", launcher=[*mpirun, "-n", "2"])
    assert done.returncode == 0, done.stderr
    assert "acc1" in done.stdout
