"""Checkpoints: everything a run needs to go on as if it had never stopped.

A checkpoint is an HDF5 file behind a block of 512 bytes that HDF5 leaves to its user: the sha256 of
all that follows stands there. It is written beside its final name, forced to disk and renamed, so a
name `step-*.h5` always belongs to a whole file; the sum finds what a failing disk does later.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nnclip.errors import CheckpointError, NnclipError
from nnclip.files import open_regular
from nnclip.json_text import brief, parse_json
from nnclip.weights.h5 import write_whole
from nnclip.weights.hdf5 import attribute, open_datasets

logger = logging.getLogger(__name__)

USERBLOCK = 512
PATTERN = "step-*.h5"
STATE_BYTES = 32 << 20  # random states of 1,000 ranks take 7 MB


@dataclass(frozen=True)
class Checkpoint:
    """A run at one moment.

    Attributes:
        arrays: parameters as `parameters/NAME`, the optimiser's as `optimiser/NAME`.
        state: what is no array: step, position in the data, random states, the model's metadata.
    """

    arrays: dict[str, np.ndarray]
    state: dict[str, Any]

    def group(self, name: str) -> dict[str, np.ndarray]:
        """The arrays whose names begin with `name`/, without it."""
        prefix = name + "/"
        return {k.removeprefix(prefix): v for k, v in self.arrays.items() if k.startswith(prefix)}


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps lies."""
    return folder / f"step-{step:09d}.h5"


def step_of(path: Path) -> int:
    """The steps after which a checkpoint was written, by its name; -1 if it has another name."""
    digits = path.stem.removeprefix("step-")
    return int(digits) if digits.isascii() and digits.isdigit() else -1


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a folder, the oldest first."""
    return sorted((p for p in folder.glob(PATTERN) if step_of(p) >= 0), key=step_of)


def going_on(folder: Path) -> str:
    """How a run that ended early goes on, or that nothing is there to go on from."""
    there = checkpoints(folder)
    if not there:
        return "no checkpoint was written yet"
    return f"--resume latest -m {folder} goes on from {there[-1].name}, which is whole"


def write_checkpoint(path: Path, arrays: Mapping[str, np.ndarray], state: dict[str, Any]) -> None:
    """Write a checkpoint; it appears whole or not at all.

    Raises:
        CheckpointError: the disk is full, or not to be written to; earlier files are untouched.
    """

    def fill(temporary: str) -> None:
        with h5py.File(temporary, "w", userblock_size=USERBLOCK, libver="latest") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array)
            file.attrs["state"] = json.dumps(state)
        with open(temporary, "r+b") as raw:
            digest = _digest(raw)
            raw.seek(0)
            raw.write(digest.encode())

    try:
        write_whole(path, fill)
    except (OSError, RuntimeError) as error:  # h5py reports a full disk as either
        raise CheckpointError(
            f"{path}: cannot be written ({error}); free some space or choose another "
            f"--monitor-path; {going_on(path.parent)}"
        ) from error


def _digest(file: Any) -> str:
    file.seek(USERBLOCK)
    digest = hashlib.sha256()
    while block := file.read(1 << 22):
        digest.update(block)
    return digest.hexdigest()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: it is missing, foreign or damaged.
    """
    try:
        with open_regular(path) as raw:
            stored = raw.read(64).decode("ascii", "replace")
            if stored != _digest(raw):
                raise CheckpointError(f"{path}: found another content than was written: damaged")
        with open_datasets(path) as (file, datasets):
            arrays = {name: np.asarray(d[()]) for name, d in datasets.items()}
            state = parse_json(attribute(file, "state"), STATE_BYTES)
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path}: {error}") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: is no checkpoint of the trainer ({error})") from error
    return Checkpoint(arrays, checked_state(path, state))


def peek_state(path: Path) -> dict[str, Any]:
    """The state of a checkpoint without its arrays, in milliseconds; CheckpointError as above."""
    try:
        open_regular(path).close()
        with open_datasets(path) as (file, _):
            state = parse_json(attribute(file, "state"), STATE_BYTES)
            return checked_state(path, state)
    except NnclipError as error:
        raise CheckpointError(f"{path}: is no checkpoint of the trainer ({error})") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: is no checkpoint of the trainer ({error})") from error


def checked_state(path: Path, state: Any) -> dict[str, Any]:
    """The state of a checkpoint; CheckpointError if it is none."""
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: found the state {brief(state)}, expected an object")
    return state


def latest_checkpoint(folder: Path) -> tuple[Path, Checkpoint] | None:
    """The newest whole checkpoint in `folder`; damaged ones are passed over with a warning."""
    for path in reversed(checkpoints(folder)):
        try:
            return path, read_checkpoint(path)
        except CheckpointError as error:
            logger.warning("%s; going on with the one before it", error)
    return None


def tidy(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and what interrupted writes left."""
    for path in checkpoints(folder)[:-keep]:
        path.unlink(missing_ok=True)
    for path in folder.glob(f".{PATTERN}.*"):
        path.unlink(missing_ok=True)
