"""Over many epochs nothing grows; killed at any moment, a run still ends where it would have."""

import atexit
import dataclasses
import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nnclip.training.boards import Board, read_log
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.trainer import Trainer

EPOCHS, WARM = 55, 25  # the first ones compile, fill caches, and settle the allocator
LARGEST_GROWTH = 8 << 20  # bytes; one epoch of images that is kept would be 2 MiB, 20 of them 40


@dataclasses.dataclass(frozen=True)
class Held:
    """What a process holds."""

    memory: int
    processes: int
    hooks: int
    files: int
    objects: int


def held() -> Held:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return Held(
        pages * os.sysconf("SC_PAGESIZE"), len(children), atexit._ncallbacks(),
        len(os.listdir("/proc/self/fd")), len(gc.get_objects()),
    )  # fmt: skip


class Watched(Trainer):
    """Notes what the process holds after each epoch."""

    def _keep(self, boards: list[Board]) -> None:
        super()._keep(boards)
        if self.state.position % self.state.pairs == 0:
            self.found = [*getattr(self, "found", []), held()]


def test_nothing_grows_over_fifty_epochs_with_workers(
    small_h5: Path, pairs_csv: Path, tmp_path: Path
) -> None:
    """NNabla's iterators keep each epoch's memory, threads and `atexit` hooks to the end."""
    config = TrainConfig(
        train=str(pairs_csv), finetuning=True, model_load_path=str(small_h5), batch_size=40,
        image_size=64, epochs=EPOCHS, warmup_iter=0, lr=1e-6, workers=2, log_interval=1,
        model_save_interval=20, monitor_path=str(tmp_path),
    )  # fmt: skip
    trainer = Watched(config, Alone(), "cpu")
    trainer.run()
    first, *_, last = trainer.found[WARM:]
    assert len(trainer.found) == EPOCHS
    assert (last.processes, last.hooks, last.files) == (first.processes, first.hooks, first.files)
    assert first.processes >= 2  # the workers
    early, late = (
        np.median([one.memory for one in part])
        for part in (trainer.found[WARM : WARM + 10], trainer.found[-10:])
    )
    assert late - early < LARGEST_GROWTH  # of medians: the allocator gives back and takes again
    assert last.objects - first.objects < 2000  # the log's own buffers, not a batch's images


@pytest.mark.heavy
def test_killed_at_twenty_random_moments_a_run_ends_with_the_same_bytes(
    small_h5: Path,
    pairs_csv: Path,
    root: Path,
    ranks_environment: dict[str, str],
    rng: np.random.Generator,
    tmp_path: Path,
) -> None:
    """A checkpoint after every step: many of the kills come while one is being written."""

    def start(folder: Path) -> subprocess.Popen[bytes]:
        flags = (
            f"-ft --model-load-path {small_h5} --train-txt-path {pairs_csv} -b 8 -i 240 -wi 2 "
            f"--lr 1e-4 --workers 1 --model-save-interval 1 --log-interval 1 -m {folder} -c cpu "
            "--resume latest"
        )
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = [sys.executable, "train.py", *flags.split()]
        return subprocess.Popen(command, cwd=root, env=ranks_environment, **quiet)

    assert start(tmp_path / "whole").wait(600) == 0
    run, kills = tmp_path / "killed", 0
    for _ in range(20):
        process, before = start(run), len(read_log(run))
        while len(read_log(run)) < before + 2 and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        kills += process.wait() < 0
    assert kills >= 15  # the others came after the run's end
    assert start(run).wait(600) == 0
    assert (run / "model.h5").read_bytes() == (tmp_path / "whole" / "model.h5").read_bytes()
    assert [line["loss"] for line in read_log(run)] == [
        line["loss"] for line in read_log(tmp_path / "whole")
    ]
