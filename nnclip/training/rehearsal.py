"""What --dry-run does: a few real steps that nobody keeps, and what the whole run would come to."""

import time
from dataclasses import dataclass

import numpy as np

from nnclip.host import available_memory, peak_memory
from nnclip.preflight import GB, room, spoken_time
from nnclip.training.trainer import Trainer

STEPS = 3  # the first compiles


@dataclass(frozen=True)
class _Measured:
    """Seconds of the first step, of a later one, of waiting for its data; bytes at the peak."""

    first: float
    step: float
    wait: float
    peak: int


def rehearse(trainer: Trainer) -> str:
    """Run a few steps and say what the run would do; writes nothing.

    Returns: lines of `WHAT: VALUE`.

    Raises:
        NnclipError: what the run itself would end with.
    """
    found = _measured(trainer)
    left = max(trainer.total - trainer.state.step + STEPS, 0)
    ranks = trainer.communicator
    peak = np.array([found.peak], np.float64)
    ranks.sum_array(peak)
    resolved, checkpoint = trainer.resolved(), trainer.checkpoint_size()
    lines = {
        "folder": trainer.folder,
        "pairs": f"{resolved['pairs']:,}, {resolved['validation_pairs']:,} to validate on",
        "model": "{trained_parameters:,} of {parameters:,} parameters trained, {image_size} "
        "pixels, {context_length} tokens".format(**resolved),
        "steps": f"{left:,} of {trainer.total:,}, {resolved['epochs']:.4g} epochs of "
        f"{resolved['ranks']} x {resolved['batch_per_rank']} pairs",
        "time of a step": f"{found.step:.3g} s, of which {found.wait:.3g} s wait for images; the "
        f"first, which compiles, {found.first:.3g} s",
        "time": f"{spoken_time(found.first + left * found.step)}, without validations and "
        "checkpoints",
        "memory": f"{float(peak[0]) / GB:.2f} GB at most, of all ranks together; "
        f"{available_memory() / GB:.2f} GB are free beside it",
        "disk": f"{checkpoint / GB:.3f} GB a checkpoint, {room(trainer.folder) / GB:.1f} GB free",
    }
    return "\n".join(f"{what}: {value}" for what, value in lines.items())


def _measured(trainer: Trainer) -> _Measured:
    """Times and memory of real steps."""
    state, times, waits = trainer.state, [], []
    with trainer.feed.training(trainer.communicator, state.position, STEPS) as batches:
        for _ in range(STEPS):
            began = time.monotonic()
            fed = next(batches)
            waited = time.monotonic()
            trainer.one_step(fed)
            waits.append(waited - began)
            times.append(time.monotonic() - began)
    return _Measured(times[0], min(times[1:]), min(waits[1:]), peak_memory())
