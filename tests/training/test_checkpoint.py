"""Checkpoints: whole or not there, found damaged when damaged."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from nnclip.errors import CheckpointError
from nnclip.training.checkpoint import (
    checkpoint_path,
    latest_checkpoint,
    read_checkpoint,
    tidy,
    write_checkpoint,
)

ARRAYS = {"parameters/a/b": np.arange(6, dtype=np.float32), "optimiser/steps": np.array(3)}


def write(folder: Path, *steps: int) -> None:
    for step in steps:
        write_checkpoint(checkpoint_path(folder, step), ARRAYS, {"step": step})


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    write(tmp_path, 7)
    found = read_checkpoint(checkpoint_path(tmp_path, 7))
    assert found.state == {"step": 7}
    np.testing.assert_array_equal(found.group("parameters")["a/b"], ARRAYS["parameters/a/b"])
    assert int(found.group("optimiser")["steps"]) == 3


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, damage: str) -> None:
    write(tmp_path, 1, 2)
    path = checkpoint_path(tmp_path, 2)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    damaged = {
        "flip": bytes(content),
        "cut": path.read_bytes()[:900],
        "empty": b"",
        "other": b"?" * 999,
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(CheckpointError, match="step-000000002"):
        read_checkpoint(path)
    found = latest_checkpoint(tmp_path)
    assert found is not None and found[1].state == {"step": 1}


def test_the_last_ones_are_kept_and_leftovers_removed(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3)
    (tmp_path / ".step-000000004.h5.abc").write_bytes(b"half")
    tidy(tmp_path, keep=2)
    assert [p.name for p in sorted(tmp_path.iterdir())] == [
        "step-000000002.h5",
        "step-000000003.h5",
    ]


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """What a full disk does, to this process alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, 1)
    large = {"parameters/a": np.zeros(1 << 20, np.float32)}
    with files_no_larger_than(1 << 20), pytest.raises(CheckpointError, match="cannot be written"):
        write_checkpoint(checkpoint_path(tmp_path, 2), large, {"step": 2})
    found = latest_checkpoint(tmp_path)
    assert found is not None and found[1].state == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 1
