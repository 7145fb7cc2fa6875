"""Parameters that wait in their file."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from nnclip.clip import CLIP
from nnclip.errors import CheckpointError
from nnclip.graph.config import metadata_of
from nnclip.weights.digest import parameter_digest
from nnclip.weights.h5 import write_h5
from nnclip.weights.model import load_model


def resident() -> int:
    """Bytes of files that this process holds in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssFile")).split()[1]) * 1024


def test_values_are_those_of_an_ordinary_load(small_h5: Path) -> None:
    mapped, read = load_model(small_h5, mapped=True), load_model(small_h5)
    wanted = {name: np.array(v.d) for name, v in read.variables().items()}
    by_variable = mapped.unread()
    assert len(by_variable) == len(wanted) and not read.unread()
    for name, array in wanted.items():
        np.testing.assert_array_equal(mapped.array(name), array)
        np.testing.assert_array_equal(read.array(name), array)
    for name, variable in mapped.variables().items():
        np.testing.assert_array_equal(by_variable[variable], wanted[name])
        np.testing.assert_array_equal(variable.d, wanted[name])
    assert not mapped.unread()


def test_changed_variables_count_from_then_on(small_h5: Path) -> None:
    model = load_model(small_h5, mapped=True)
    model.variables()["visual/proj"].d = 3.0
    assert (model.array("visual/proj") == 3.0).all()
    assert (model.variables()["visual/proj"].d == 3.0).all()


@pytest.mark.parametrize("stored", ["half", "compressed"])
def test_files_that_cannot_be_mapped_are_read(small_h5: Path, tmp_path: Path, stored: str) -> None:
    arrays = {n: np.array(v.d) for n, v in load_model(small_h5).variables().items()}
    path = tmp_path / "stored.h5"
    write_h5(path, arrays, half=stored == "half")
    if stored == "compressed":
        with h5py.File(path, "r+") as file:
            del file["visual/proj"]
            file.create_dataset("visual/proj", data=arrays["visual/proj"], compression="gzip")
    model = load_model(path, mapped=True)
    for name, array in arrays.items():
        np.testing.assert_allclose(model.array(name), array, rtol=1e-3, atol=1e-6)


def test_memory_is_given_back_and_values_stay(small_h5: Path) -> None:
    model = load_model(small_h5, mapped=True)
    table = model.array("token_embedding/W")
    total = table.sum()
    before = resident()
    model.give_back()
    assert before - resident() > 0.9 * table.nbytes
    assert table.sum() == total


def test_a_file_replaced_by_renaming_does_not_matter(small_h5: Path, tmp_path: Path) -> None:
    path = shutil.copy(small_h5, tmp_path / "model.h5")
    model, wanted = load_model(path, mapped=True), load_model(small_h5)
    write_h5(path, {"other": np.zeros(3)})
    path.unlink()
    np.testing.assert_array_equal(model.array("visual/proj"), wanted.array("visual/proj"))


def test_writing_into_the_very_file_is_noticed(small_h5: Path, tmp_path: Path) -> None:
    path = shutil.copy(small_h5, tmp_path / "model.h5")
    model = load_model(path, mapped=True)
    with h5py.File(path, "r+") as file:
        file["visual/proj"][...] = 0
    with pytest.raises(CheckpointError, match="overwritten"):
        model.variables()


def halved(small_h5: Path, path: Path) -> Path:
    """The model in half precision, and beside it one in float32 with the same, rounded values."""
    whole = load_model(small_h5)
    arrays = {n: np.array(v.d) for n, v in whole.variables().items()}
    told = metadata_of(whole.config)
    write_h5(path, arrays, told, half=True)
    rounded = {n: a.astype(np.float16).astype(np.float32) for n, a in arrays.items()}
    write_h5(path.with_name("rounded.h5"), rounded, told)
    return path


def test_of_half_precision_the_table_of_tokens_stays_as_it_is(
    small_h5: Path, tmp_path: Path
) -> None:
    model = load_model(halved(small_h5, tmp_path / "half.h5"), mapped=True)
    rounded = load_model(tmp_path / "rounded.h5")
    for name, variable in rounded.variables().items():
        array = model.array(name)
        np.testing.assert_array_equal(array, variable.d)
        assert array.dtype == (np.float16 if name == "token_embedding/W" else np.float32), name
    table = model.array("token_embedding/W")
    total, before = table.astype(np.float64).sum(), resident()
    model.give_back()
    assert before - resident() > 0.9 * table.nbytes
    assert table.astype(np.float64).sum() == total


@pytest.mark.parametrize("name", ["token_embedding/W", "visual/proj"])
def test_damage_in_half_precision_is_named(small_h5: Path, tmp_path: Path, name: str) -> None:
    path = halved(small_h5, tmp_path / "half.h5")
    with h5py.File(path, "r+") as file:
        values = file[name][...]
        values.reshape(-1)[7] += 1
        file[name][...] = values
    with pytest.raises(CheckpointError, match=f"tensor {name}: found other values than were"):
        load_model(path, mapped=True).array(name)
    with h5py.File(path, "r+") as file:
        values.reshape(-1)[7] = np.inf
        file[name][...] = values
    with pytest.raises(CheckpointError, match=f"tensor {name}: found NaN or infinity"):
        load_model(path, mapped=True).array(name)


def test_half_precision_answers_as_its_rounded_values_do(small_h5: Path, tmp_path: Path) -> None:
    path = halved(small_h5, tmp_path / "half.h5")
    half, rounded = CLIP(path, precision="fp32"), CLIP(tmp_path / "rounded.h5", precision="fp32")
    ids = half.tokenize(["a dog", "two red cars in the snow"])
    np.testing.assert_array_equal(half.encode_text(ids), rounded.encode_text(ids))
    images = np.random.RandomState(0).randn(2, 3, *[half.config.image.resolution] * 2)
    images = images.astype(np.float32)
    np.testing.assert_array_equal(half.encode_image(images), rounded.encode_image(images))


def test_the_digest_is_computed_once_and_follows_changes(small_h5: Path) -> None:
    mapped, read = load_model(small_h5, mapped=True), load_model(small_h5)
    (file,) = mapped.waiting
    found = parameter_digest(mapped)
    assert found == parameter_digest(read) == file.digest == parameter_digest(mapped)
    mapped.variables()["visual/proj"].d = 3.0
    assert parameter_digest(mapped) != found
