"""Pickles in CIFAR's files that are small and want to be large, deep or obeyed."""

import pickle
import tracemalloc

import numpy as np
import pytest

from nnclip.errors import DataError
from nnclip.evaluate.labelled import read_labelled
from nnclip.sources.cifar import PIXELS

PLANES = np.zeros((2, PIXELS), np.uint8)
START = pickle.PROTO + b"\x02"
LONG = b"U\xff" + b"a" * 255  # a text of 255 letters
ENCODE = pickle.GLOBAL + b"_codecs\nencode\n"
DEEP = pickle.EMPTY_DICT + b"N" + pickle.TUPLE1 * 100_000 + b"N" + pickle.SETITEM
# what a program would build -> its bytes
PROGRAMS = {
    "a memo of 2 billion places": START + b"N" + pickle.LONG_BINPUT + b"\xff\xff\xff\x7f",
    "a text of 4 GB": START + pickle.BINUNICODE + b"\xff\xff\xff\xff",
    "a key 100,000 deep": START + DEEP,
    "the same text 100,000 times": START
    + b"X\xff\x00\x00\x00" + b"a" * 255 + b"q\x00"
    + pickle.EMPTY_LIST
    + (ENCODE + b"h\x00" + b"U\x06latin1" + pickle.TUPLE2 + pickle.REDUCE + pickle.APPEND) * 2_000,
    "an array of a terabyte": START
    + b"cnumpy\nndarray\n" + b"\x8a\x06\x00\x00\x00\x00\x00\x01" + pickle.TUPLE1 + pickle.REDUCE,
    "another codec": START + ENCODE + LONG + b"U\x05utf-8" + pickle.TUPLE2 + pickle.REDUCE,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({"label_names": ["a", "b"]}, 2))
    return tmp_path


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_small_file_stays_small(folder, program):
    (folder / "test_batch").write_bytes(PROGRAMS[program] + b".")
    tracemalloc.start()
    with pytest.raises(DataError, match=r"not one of CIFAR's files|expected CIFAR's dict"):
        read_labelled(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6


class State:
    """An array whose state says what `values` say."""

    def __init__(self, *values):
        self.values = values

    def __reduce__(self):
        return np.core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), self.values


@pytest.mark.parametrize(
    ("state", "labels"),
    [
        ((1, (2, PIXELS), None, False, bytes(7)), [0, 1]),
        ((1, (3, PIXELS), None, False, bytes(2 * PIXELS)), [0, 1]),
        ((1, (2, PIXELS), None, True, bytes(2 * PIXELS)), [0, 1]),
        ((1, (2, PIXELS), None, False, "text"), [0, 1]),
        ((1,), [0, 1]),
        ((1, (2, PIXELS), None, False, bytes(2 * PIXELS)), [0, 2**70]),
        ((1, (2, PIXELS), None, False, bytes(2 * PIXELS)), [0, "one"]),
        ((1, (2, PIXELS), None, False, bytes(2 * PIXELS)), [0, [1]]),
    ],
)
def test_an_array_that_is_none_is_refused(folder, state, labels):
    content = {"data": State(*state), "labels": labels}
    (folder / "test_batch").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(DataError, match=r"expected uint8|not one of CIFAR's files"):
        read_labelled(folder)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL))
def test_every_protocol_is_read(folder, protocol):
    content = {"data": PLANES, "labels": [1, 0]}
    (folder / "test_batch").write_bytes(pickle.dumps(content, protocol))
    assert read_labelled(folder).labels.tolist() == [1, 0]


@pytest.mark.parametrize("names", [{"a": 1}, [1], None, [("a",)]])
def test_names_that_are_none_are_refused(folder, names):
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, 2))
    (folder / "test_batch").write_bytes(pickle.dumps({"data": PLANES, "labels": [1, 0]}, 2))
    with pytest.raises(DataError, match="no names of classes `label_names`"):
        read_labelled(folder)
