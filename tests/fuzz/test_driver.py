"""The driver finds every kind of fault, each made on purpose."""

import os
import time
from pathlib import Path
from random import Random

import pytest

from nnclip.errors import DataError
from tests.fuzz.driver import Subject, fuzz
from tests.fuzz.mutations import damage_bytes


def _number(folder: Path) -> int:
    """Misbehaves as the number in the file says."""
    number = int((folder / "number").read_text())
    if number == 1:
        raise DataError("found 1, expected another number")
    if number == 2:
        raise ValueError("two")
    if number == 3:
        os.abort()
    if number == 4:
        time.sleep(60)
    if number == 5:
        bytearray(1 << 31)
    if number == 6:
        raise SystemExit(0)
    return number


def _any_number(folder: Path, random: Random) -> str:
    number = random.randrange(8)
    (folder / "number").write_text(str(number))
    return f"now {number}"


CASES = 24
SUBJECT = Subject(lambda folder: (folder / "number").write_text("0"), _any_number, _number, True)
EXPECTED = {
    2: "ValueError: two",
    3: "the process ended with -6",
    4: "no answer in 0.5 s",
    5: "MemoryError",
    6: "SystemExit",
    7: "another answer",
}


def test_every_kind_of_fault_is_told(tmp_path: Path) -> None:
    numbers = [Random(f"tests.fuzz.test_driver:SUBJECT {i}").randrange(8) for i in range(CASES)]
    assert set(numbers) == set(range(8))
    found = fuzz("tests.fuzz.test_driver:SUBJECT", tmp_path, range(CASES), seconds=0.5)
    assert (found.right, found.refused) == (numbers.count(0), numbers.count(1))
    wanted = [(i, n) for i, n in enumerate(numbers) if n in EXPECTED]
    assert len(found.faults) == len(wanted)
    for fault, (number, kind) in zip(found.faults, wanted, strict=True):
        assert fault.startswith(f"case {number} (now {kind}): ") and EXPECTED[kind] in fault


@pytest.mark.parametrize("number", range(100))
def test_damage_is_the_same_each_time(number: int) -> None:
    content = bytes(range(256)) * 40
    damaged, how = damage_bytes(content, Random(number))
    assert (damaged, how) == damage_bytes(content, Random(number))
