"""Captioned images on disk, small enough to be decoded by the hundred."""

import colorsys
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.trainer import Trainer

COUNT = 40


def draw(path: Path, number: int, size: tuple[int, int] = (40, 32)) -> None:
    """An image that no other number gives: a colour and a bar."""
    red, green, blue = (
        round(255 * c) for c in colorsys.hsv_to_rgb(number / COUNT, 1, 0.4 + 0.6 * (number % 2))
    )
    pixels = np.full((size[1], size[0], 3), (red, green, blue), np.uint8)
    pixels[:, number % size[0]] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def caption(number: int) -> str:
    return f"image number {number} of {'many' if number % 3 else 'a few'}"


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """A run takes the signals over; the next test finds them as they were."""
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def pairs_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tab-separated table of 40 pairs, header `filepath\ttitle`; paths are relative to it."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = ["filepath\ttitle"]
    for number in range(COUNT):
        draw(folder / "images" / f"{number}.png", number)
        lines.append(f"images/{number}.png\t{caption(number)}")
    table = folder / "pairs.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def ranks_environment(root: Path) -> dict[str, str]:
    """The environment of a job: ranks find nnclip, share the cores, and may be root's."""
    return {
        **os.environ,
        "PYTHONPATH": str(root),
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }


@pytest.fixture(scope="session")
def rank_command() -> Callable[..., list[str]]:
    """Gives the command line that runs a script on ranks."""
    return command


def command(ranks: int, script: Path, *arguments: object) -> list[str]:
    """A command line that runs a script on ranks, by the mpirun of this environment."""
    python = [sys.executable, str(script), *map(str, arguments)]
    if ranks == 1:
        return python
    mpirun = str(Path(sys.executable).with_name("mpirun"))
    return [mpirun, "--bind-to", "none", "--oversubscribe", "-n", str(ranks), *python]


@pytest.fixture
def run_ranks(root: Path, ranks_environment: dict[str, str]) -> Callable[..., CompletedProcess]:
    """Runs a script (default: train.py) on ranks until it ends; returns what it said."""

    def run(ranks: int, *arguments: object, script: Path | None = None, timeout: float = 300):
        return subprocess.run(
            command(ranks, script or root / "train.py", *arguments),
            cwd=root,
            env=ranks_environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def fine_tuning(small_h5: Path, pairs_csv: Path, tmp_path: Path) -> TrainConfig:
    """A short run that goes on from the small model; its folder is `tmp_path / "run"`."""
    return TrainConfig(
        train=str(pairs_csv), finetuning=True, model_load_path=str(small_h5), batch_size=8,
        max_iter=4, warmup_iter=0, lr=1e-3, workers=0, log_interval=1,
        monitor_path=str(tmp_path / "run"), schedule="constant",
    )  # fmt: skip


def train(config: TrainConfig, **changes: object) -> Trainer:
    """Run that configuration, changed, in this process."""
    trainer = Trainer(dataclasses.replace(config, **changes), Alone(), "cpu")  # type: ignore[arg-type]
    trainer.run()
    return trainer
