"""A file with NaN in it is refused when it is read, or when the tensor is first used."""

import shutil

import h5py
import numpy as np
import pytest

from nnclip.errors import CheckpointError
from nnclip.model import CLIP
from nnclip.weights.model import load_model, save_model


@pytest.fixture
def path(small_h5, tmp_path):
    """A good model file, to be spoilt."""
    return shutil.copy(small_h5, tmp_path / "model.h5")


@pytest.mark.parametrize("name, value", [("visual/proj", np.nan), ("text_projection", -np.inf)])
def test_a_tensor_that_is_not_finite_is_named(path, name, value):
    with h5py.File(path, "r+") as file:
        file[name][1, 1] = value
    words = f"{path}: tensor {name}: found NaN or infinity"
    with pytest.raises(CheckpointError, match=words):
        load_model(path)
    model = CLIP(path, precision="fp32")  # it leaves the tensors in the file until they are used
    uses = {
        "visual/proj": lambda: model.encode_image(np.zeros((1, 3, 32, 32), np.float32)),
        "text_projection": lambda: model.encode_text(model.tokenize("a dog")),
    }
    for use in (uses.pop(name), model.parameters):
        with pytest.raises(CheckpointError, match=words):
            use()
    (other,) = uses.values()
    assert np.isfinite(other()).all()


def test_a_scale_that_is_not_finite_is_named(path):
    with h5py.File(path, "r+") as file:
        file["logit_scale"][()] = np.nan
    with pytest.raises(CheckpointError, match="tensor logit_scale"):
        _ = CLIP(path).logit_scale


def test_huge_values_are_numbers(path):
    model = load_model(path)
    model.variables()["visual/proj"].d[1, 1] = 1e30
    save_model(path, model)
    assert load_model(path).variables()["visual/proj"].d.max() == np.float32(1e30)
