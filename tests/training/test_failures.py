"""What goes wrong on one rank ends the job on all, soon and with a sentence."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nnclip.errors import ConfigError
from nnclip.training.communicator import Alone, check_launcher, connect

SCRIPT = Path(__file__).with_name("failing_rank.py")
LATEST = 60  # seconds; the promise is 10 on an idle machine


@pytest.fixture
def job(
    root: Path,
    rank_command: Callable[..., list[str]],
    ranks_environment: dict[str, str],
    tmp_path: Path,
) -> Iterator[subprocess.Popen[str]]:
    """Starts two ranks, the second of which does as told; gives them when both are at work."""
    started: list[subprocess.Popen[str]] = []

    def start(what: str, *flags: str) -> tuple[subprocess.Popen[str], int]:
        numbers = tmp_path / "rank1"
        process = subprocess.Popen(
            rank_command(2, SCRIPT, what, numbers, *flags),
            cwd=root, env=ranks_environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        started.append(process)
        deadline = time.monotonic() + 120
        while not numbers.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        return process, int(numbers.read_text()) if numbers.exists() else 0

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=LATEST)
    return process.returncode, said


def test_an_exception_in_one_rank_ends_all(job) -> None:
    process, _ = job("raise")
    status, said = ended(process)
    assert status != 0 and "rank 1 failed" in said and "made to fail" in said


def test_a_killed_rank_ends_all(job) -> None:
    process, rank = job("wait")
    os.kill(rank, signal.SIGKILL)
    assert ended(process)[0] != 0


def test_a_rank_that_stops_answering_ends_all_after_the_timeout(job) -> None:
    process, rank = job("wait", "--timeout", "2")
    os.kill(rank, signal.SIGSTOP)
    status, said = ended(process)
    assert status != 0 and "did not answer within 2 s" in said


def test_different_parameters_are_found(job) -> None:
    process, _ = job("differ")
    status, said = ended(process)
    assert status == 2 and "the ranks hold different parameters: b" in said


def test_a_foreign_launcher_is_a_sentence_not_many_jobs_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two launchers that disagree: the environment says four ranks, MPI sees one."""
    monkeypatch.setenv("PMI_SIZE", "4")
    with pytest.raises(ConfigError, match=r"MPICH's mpiexec started 4 ranks, but MPI .* sees 1"):
        check_launcher(1, "Open MPI v5, package")
    monkeypatch.delenv("PMI_SIZE")
    check_launcher(1, "")
    assert isinstance(connect(1.0), Alone)
