"""Gives damaged files to a reader, in a process that may die, hang or want too much memory.

A subject is a constant of a test module: how to write good files, damage them and read them. Every
case has a number, from which all its randomness follows, so that one case can be tried alone:

    python -m tests.fuzz.driver tests.fuzz.test_models:H5 /tmp/work 17 18 1073741824
"""

import importlib
import json
import resource
import select
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from nnclip.errors import NnclipError

ROOT = Path(__file__).parents[2]
START = 120.0  # seconds until the first case


@dataclass(frozen=True)
class Subject:
    """What is damaged and who reads it.

    Attributes:
        make: Writes good files into an empty folder.
        damage: Changes the files of a folder, and says how.
        read: What a user gets of a folder's files; equal for equal answers.
        exact: Whether an answer that differs from that of the good files is a fault.
    """

    make: Callable[[Path], object]
    damage: Callable[[Path, Random], str]
    read: Callable[[Path], Any]
    exact: bool = False


@dataclass(frozen=True)
class Found:
    """What came of the cases: numbers of right answers and of errors, and the faults in words."""

    right: int
    refused: int
    faults: list[str]


def fuzz(
    subject: str,
    folder: Path,
    cases: range,
    seconds: float = 60.0,
    memory: int = 1 << 30,
) -> Found:
    """Try cases of a subject.

    Args:
        subject: `module:CONSTANT`.
        folder: An empty one for the files.
        cases: Their numbers.
        seconds: After which a case counts as hanging.
        memory: Bytes of address space that a case may take beside what reading good files takes.
    """
    counts, faults, start = {"right": 0, "refused": 0}, [], cases.start
    while start < cases.stop:
        command = [sys.executable, "-m", "tests.fuzz.driver", subject, str(folder), str(start)]
        with subprocess.Popen(
            [*command, str(cases.stop), str(memory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        ) as worker:
            number, damage = -1, ""
            for line in _lines(worker, seconds):
                if line is None:
                    worker.kill()
                    faults.append(f"case {number} ({damage}): no answer in {seconds:g} s")
                    break
                number, damage, result = json.loads(line)
                if result in counts:
                    counts[result] += 1
                elif result:
                    faults.append(f"case {number} ({damage}): {result}")
        if number < 0:
            raise RuntimeError(f"the good files of {subject} cannot be made or read: {command}")
        if worker.returncode == 0:
            break
        if worker.returncode != -9:
            faults.append(f"case {number} ({damage}): the process ended with {worker.returncode}")
        start = number + 1
    return Found(counts["right"], counts["refused"], faults)


def _lines(worker: subprocess.Popen, seconds: float) -> Iterator[bytes | None]:
    """Lines of a process as they come; None where the next one takes too long."""
    assert worker.stdout is not None
    rest, patience = b"", START  # a process begins slowly on a busy machine
    while True:
        if not select.select([worker.stdout], [], [], patience)[0]:
            yield None
            return
        content = worker.stdout.read1(1 << 16)  # type: ignore[attr-defined]
        if not content:
            return
        patience = seconds
        *whole, rest = (rest + content).split(b"\n")
        yield from whole


def _work(name: str, folder: Path, first: int, last: int, memory: int) -> None:
    """Try cases one after the other; prints one line before each and one after it."""
    module, _, constant = name.partition(":")
    subject: Subject = getattr(importlib.import_module(module), constant)
    good, case = folder / "good", folder / "case"
    if not good.exists():
        good.mkdir(parents=True)
        subject.make(good)
    _copy(good, case)
    right = subject.read(case)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + memory, resource.RLIM_INFINITY))
    for number in range(first, last):
        _copy(good, case)
        damage = subject.damage(case, Random(f"{name} {number}"))
        print(json.dumps([number, damage, ""]), flush=True)
        result = _result(subject, case, right)
        print(json.dumps([number, damage, result]), flush=True)


def _copy(good: Path, case: Path) -> None:
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(good, case)


def _result(subject: Subject, case: Path, right: Any) -> str:
    """`right`, `refused`, or what is wrong."""
    try:
        found = subject.read(case)
    except NnclipError:
        return "refused"
    except BaseException as error:  # the panics of Rust are no Exceptions
        where = traceback.extract_tb(error.__traceback__)[-3:]
        places = " < ".join(f"{Path(at.filename).name}:{at.lineno}" for at in reversed(where))
        return f"{type(error).__name__}: {str(error)[:300]} ({places})"
    return "another answer" if subject.exact and found != right else "right"


if __name__ == "__main__":
    _work(sys.argv[1], Path(sys.argv[2]), *(int(number) for number in sys.argv[3:6]))
