"""Trying mpirun out: one that works, and ones that do not."""

import sys
from pathlib import Path

from nnclip.training.mpirun import try_mpirun


def mpirun(folder: Path, body: str) -> str:
    """A program that says its version, or gets `-n 2 COMMAND`."""
    path = folder / "mpirun"
    path.write_text(f"#!/bin/sh\n[ $1 = --version ] && exec echo mpirun of a test\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_this_environments_mpirun_starts_two_ranks() -> None:
    found = try_mpirun()
    assert found.problem == "" and "Open MPI" in found.version
    assert found.path == str(Path(sys.executable).with_name("mpirun"))


def test_an_mpirun_of_another_mpi_is_told(tmp_path: Path) -> None:
    found = try_mpirun(mpirun(tmp_path, 'shift 2; "$@"; "$@"'))
    assert "started two jobs of one rank" in found.problem
    assert found.version == "mpirun of a test"


def test_an_mpirun_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    found = try_mpirun(mpirun(tmp_path, "echo no slots left >&2; exit 3"))
    assert found.problem == "mpirun -n 2 failed (no slots left)"
