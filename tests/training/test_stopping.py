"""Signals: a run saves and says so; a second Ctrl-C ends it at once."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nnclip.training.boards import read_log
from nnclip.training.checkpoint import checkpoints
from nnclip.training.stopping import AFTER_HANG_UP

Start = Callable[..., "subprocess.Popen[str]"]
STEPS = 4000


@pytest.fixture(autouse=True)
def usual_signals() -> Iterator[None]:
    """As in a terminal: a suite in the background, or under nohup, was started to ignore some."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def start(
    small_h5: Path, pairs_csv: Path, root: Path, ranks_environment: dict[str, str], tmp_path: Path
) -> Iterator[Start]:
    """Starts a run of many steps; gives it once it has done one."""
    started: list[subprocess.Popen[str]] = []

    def begin(*before: str, **options: Any) -> "subprocess.Popen[str]":
        flags = (
            f"-ft --model-load-path {small_h5} --train-txt-path {pairs_csv} --lr 1e-5 -c cpu -b 4 "
            f"-wi 0 --workers 1 --log-interval 1 -i {STEPS} -m {tmp_path / 'run'}"
        )
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | options
        command = [*before, sys.executable, "train.py", *flags.split()]
        process = subprocess.Popen(command, cwd=root, env=ranks_environment, **given)
        started.append(process)
        deadline = time.monotonic() + 120
        while not read_log(tmp_path / "run") and time.monotonic() < deadline:
            time.sleep(0.05)
        return process

    yield begin
    for process in started:
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        process.wait()


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_a_signal_saves_and_says_so(start: Start, tmp_path: Path, name: str) -> None:
    process = start()
    process.send_signal(getattr(signal, name))
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert f"{name}: saving after this step, then ending" in said and "Traceback" not in said
    assert f"stopped; go on with --resume latest -m {tmp_path / 'run'}" in said
    assert len(checkpoints(tmp_path / "run")) == 1


BUSY = """
import hashlib, sys
from pathlib import Path
from nnclip.training.stopping import StopSignals
with StopSignals(Path(sys.argv[1])) as stop:
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 6_000_000)  # some seconds, as a step that compiles
print("asked", stop.asked)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_every_way_of_asking_is_heard(root: Path, tmp_path: Path, name: str) -> None:
    short = BUSY.replace("6_000_000", "100_000")
    send = f"import os, signal; os.kill(os.getpid(), signal.{name})"
    short = short.replace('    print("ready"', f'    {send}\n    print("ready"')
    done = subprocess.run(
        [sys.executable, "-c", short, tmp_path], cwd=root, text=True, capture_output=True
    )
    assert done.stdout == "ready\nasked True\n" and f"{name}: saving" in done.stderr


@pytest.mark.parametrize(("pause", "status"), [(0.05, 0), (0.6, 130)])
def test_a_second_press_ends_at_once_but_one_press_told_twice_does_not(
    root: Path, tmp_path: Path, pause: float, status: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY, tmp_path], cwd=root, text=True, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(pause)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == status
    assert said == ("" if status else "asked True\n")


def test_what_a_run_was_started_to_ignore_is_ignored(start: Start, tmp_path: Path) -> None:
    process = start("nohup")
    process.send_signal(signal.SIGHUP)
    before = len(read_log(tmp_path / "run"))
    deadline = time.monotonic() + 60
    while len(read_log(tmp_path / "run")) < before + 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None


def test_a_run_outlives_its_terminal_until_it_has_saved(start: Start, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = start(
        stdin=theirs, stdout=theirs, stderr=theirs, text=False, start_new_session=True,
        preexec_fn=lambda: _take_terminal(),
    )  # fmt: skip
    os.close(theirs)
    os.close(ours)  # the system sends SIGHUP
    assert process.wait(timeout=60) == 0
    assert len(checkpoints(tmp_path / "run")) == 1
    assert "SIGHUP: saving" in (tmp_path / "run" / AFTER_HANG_UP).read_text()


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
