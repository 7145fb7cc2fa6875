"""Reading and writing .h5: what comes back, what NNabla reads, and what bad files say."""

import errno
import os

import h5py
import nnabla as nn
import numpy as np
import pytest

from nnclip.errors import CheckpointError
from nnclip.weights import h5
from nnclip.weights.h5 import read_h5, write_h5, write_whole

ARRAYS = {
    "b/W": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "a": np.float32([0.1, -2.5]),
    "steps": np.array([3], np.int64),
    "scale": np.array(1.5, np.float32),
}


def test_arrays_order_and_metadata_come_back(tmp_path):
    metadata = {"activation": "gelu", "heads": 4, "eps": 1e-6, "mean": [0.5, 0.25], "names": ["é"]}
    write_h5(tmp_path / "m.h5", ARRAYS, metadata)
    found = read_h5(tmp_path / "m.h5")
    assert list(found.arrays) == list(ARRAYS)  # not in the order of the alphabet
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)
    assert found.metadata == metadata


def test_metadata_may_be_larger_than_an_hdf5_header(tmp_path):
    vocabulary = "x" * 300_000
    write_h5(tmp_path / "m.h5", ARRAYS, {"tokenizer": vocabulary})
    assert read_h5(tmp_path / "m.h5").metadata["tokenizer"] == vocabulary


def test_half_rounds_floats_only_and_is_widened(tmp_path):
    write_h5(tmp_path / "m.h5", ARRAYS, half=True)
    with h5py.File(tmp_path / "m.h5") as file:
        assert file["a"].dtype == np.float16
    found = read_h5(tmp_path / "m.h5").arrays
    assert found["a"].dtype == np.float32
    np.testing.assert_array_equal(found["a"], ARRAYS["a"].astype(np.float16))
    assert found["steps"].dtype == np.int64


def test_nnabla_reads_what_is_written(tmp_path):
    write_h5(tmp_path / "m.h5", ARRAYS, {"activation": "gelu"}, frozen=frozenset({"a"}))
    with nn.parameter_scope("", scope={}):
        nn.load_parameters(str(tmp_path / "m.h5"))
        found = nn.get_parameters(grad_only=False)
        assert found.keys() == ARRAYS.keys()
        np.testing.assert_array_equal(found["b/W"].d, ARRAYS["b/W"])
        assert found["b/W"].need_grad and not found["a"].need_grad


def test_what_nnabla_writes_is_read(tmp_path):
    scope = {}
    with nn.parameter_scope("", scope=scope):
        for name in ("b/W", "a"):
            nn.parameter.set_parameter(name, nn.Variable.from_numpy_array(ARRAYS[name]))
        nn.save_parameters(str(tmp_path / "m.h5"))
    found = read_h5(tmp_path / "m.h5")
    assert list(found.arrays) == ["b/W", "a"]
    np.testing.assert_array_equal(found.arrays["b/W"], ARRAYS["b/W"])
    assert found.metadata == {}


def truncated(path):
    write_h5(path, {"w": np.zeros(10_000, np.float32)})
    os.truncate(path, path.stat().st_size // 2)


def without_parameters(path):
    h5py.File(path, "w").close()


def of_words(path):
    with h5py.File(path, "w") as file:
        file["w"] = "words"


BAD_FILES = {
    "missing": (lambda path: None, "no such file"),
    "folder": (lambda path: path.mkdir(), "no such file"),
    "empty": (lambda path: path.touch(), "damaged or foreign"),
    "text": (lambda path: path.write_text("weights"), "damaged or foreign"),
    "truncated": (truncated, "damaged or foreign"),
    "without parameters": (without_parameters, "no parameter"),
    "words": (of_words, "expected numbers"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_named_in_one_error(kind, tmp_path):
    path = tmp_path / "bad.h5"
    make, sentence = BAD_FILES[kind]
    make(path)
    with pytest.raises(CheckpointError) as caught:
        read_h5(path)
    assert str(path) in str(caught.value) and sentence in str(caught.value)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "m.h5"
    write_h5(path, ARRAYS)
    before = path.read_bytes()

    class FullDisk(h5py.File):
        def create_dataset(self, name, *args, **more):
            if name == "steps":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().create_dataset(name, *args, **more)

    monkeypatch.setattr(h5.h5py, "File", FullDisk)
    with pytest.raises(CheckpointError, match="No space left"):
        write_h5(path, {**ARRAYS, "more": np.zeros(3, np.float32)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_h5(tmp_path / "file" / "m.h5", ARRAYS)


def test_others_may_read_the_file_as_far_as_the_umask_lets_them(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "m", lambda path: None)
    finally:
        os.umask(before)
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o640
