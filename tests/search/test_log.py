"""The log: what was acknowledged stays, whatever happens to the file's end."""

import numpy as np
import pytest

from nnclip.errors import DataError
from nnclip.search.log import Entry, Log

from .conftest import unit_vectors


def entries(rng, count):
    """Entries of every kind."""
    for number in range(count):
        rows = unit_vectors(rng, number % 4).astype(np.float16) if number % 4 else []
        records = [{"image": f"/ä/{number}-{row}.png"} for row in range(len(rows))]
        vectors = np.reshape(rows, (len(records), -1)) if records else np.empty((0, 16))
        sources = ["/somewhere"] if number == 3 else None
        yield Entry(records, vectors.astype(np.float16), [number] * (number % 2), sources, ["x"])


def same(found, wanted):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert (a.records, list(a.removed), a.sources, list(a.banned)) == (
            *(list(b.records), list(b.removed), b.sources, list(b.banned)),
        )
        np.testing.assert_array_equal(a.vectors.reshape(-1), b.vectors.reshape(-1))


def test_entries_come_back_and_only_once(tmp_path, rng):
    wanted = list(entries(rng, 9))
    writer, reader = (Log(tmp_path / "log", 16, "float16") for _ in range(2))
    assert list(reader.read()) == []
    for entry in wanted[:5]:
        writer.append(entry)
    same(list(reader.read()), wanted[:5])
    assert list(reader.read()) == []
    for entry in wanted[5:]:
        writer.append(entry)
    same(list(reader.read()), wanted[5:])


def test_any_part_of_the_file_holds_the_entries_that_are_whole_and_takes_more(tmp_path, rng):
    wanted = list(entries(rng, 6))
    path, ends = tmp_path / "log", [0]
    log = Log(path, 16, "float16")
    for entry in wanted:
        log.append(entry)
        ends.append(log.end)
    content, last = path.read_bytes(), next(iter(entries(rng, 3)))
    for length in sorted({*range(0, len(content), 7), *ends}):
        for rest in (b"", b"\0" * 37):  # a file may have grown before its pages arrived
            path.write_bytes(content[:length] + rest)
            torn = Log(path, 16, "float16")
            whole = sum(end <= length for end in ends) - 1
            if rest and length not in ends:
                continue  # nothing is written behind an entry that is not whole
            same(list(torn.read()), wanted[:whole])
            torn.append(last)
            same(list(Log(path, 16, "float16").read()), [*wanted[:whole], last])


def test_the_last_entry_with_pages_missing_is_none(tmp_path, rng):
    wanted = list(entries(rng, 4))
    path = tmp_path / "log"
    log = Log(path, 16, "float16")
    for entry in wanted:
        log.append(entry)
    content = bytearray(path.read_bytes())
    content[-40:] = bytes(40)
    path.write_bytes(content)
    same(list(Log(path, 16, "float16").read()), wanted[:3])


def test_damage_before_the_end_is_told_and_nothing_is_cut_off(tmp_path, rng):
    path = tmp_path / "log"
    log = Log(path, 16, "float16")
    for entry in entries(rng, 6):
        log.append(entry)
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="found damage after 0 of"):
        list(Log(path, 16, "float16").read())
    assert path.read_bytes() == bytes(content)


def test_a_full_disk_is_told_and_changes_nothing(tmp_path, rng):
    log = Log(tmp_path / "log", 16, "float16")
    first = next(iter(entries(rng, 1)))
    log.append(first)
    full = Log(tmp_path / "full", 16, "float16")
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(DataError, match="cannot be written"):
        full.append(first)
    same(list(Log(tmp_path / "log", 16, "float16").read()), [first])
