"""From .h5 to parameters: strict about names and shapes, and a bad file changes nothing."""

import dataclasses

import h5py
import nnabla as nn
import numpy as np
import pytest

from nnclip import clip
from nnclip.errors import CheckpointError
from nnclip.weights.h5 import read_h5, write_h5
from nnclip.weights.model import load_model, save_model

NAME = "visual/transformer/resblocks/1/mlp/c_fc/b"


@pytest.fixture
def rewritten(small_h5, tmp_path):
    """(change) -> the path of a copy of the small model whose named arrays `change` has changed."""

    def rewrite(change, metadata=None):
        weights = read_h5(small_h5)
        arrays = dict(weights.arrays)
        change(arrays)
        write_h5(tmp_path / "changed.h5", arrays, {**weights.metadata, **(metadata or {})})
        return tmp_path / "changed.h5"

    return rewrite


def test_values_names_and_configuration_come_back(small_h5, small_config):
    model = load_model(small_h5)
    assert model.config == small_config
    arrays = read_h5(small_h5).arrays
    variables = model.variables()
    assert variables.keys() == arrays.keys()
    assert all(v.need_grad for v in variables.values())
    for name, array in arrays.items():
        np.testing.assert_array_equal(variables[name].d, array)


def test_models_do_not_share_parameters(small_h5):
    one, other = load_model(small_h5).variables(), load_model(small_h5).variables()
    one["visual/proj"].d = 0
    assert np.abs(other["visual/proj"].d).max() > 0


def test_the_users_own_parameters_are_left_alone(small_h5):
    nn.clear_parameters()
    load_model(small_h5)
    assert not nn.get_parameters(grad_only=False)


def test_saving_and_loading_is_the_same_to_the_bit(other_h5, tmp_path):
    model = load_model(other_h5)
    model.variables()["logit_scale"].need_grad = False
    save_model(tmp_path / "copy.h5", model, extra={"note": "a copy"})
    copy = load_model(tmp_path / "copy.h5")
    assert copy.config == model.config
    assert copy.metadata == {**model.metadata, "note": "a copy"}
    for name, variable in model.variables().items():
        assert copy.variables()[name].d.tobytes() == variable.d.tobytes()
    with h5py.File(tmp_path / "copy.h5") as file:
        assert not file["logit_scale"].attrs["need_grad"] and file["visual/proj"].attrs["need_grad"]
    frozen = [name for name, v in copy.variables().items() if not v.need_grad]
    assert frozen == ["logit_scale"]


def test_flags_of_files_that_nnclip_did_not_write_mean_nothing(small_h5, tmp_path):
    """Converters save what `Variable.from_numpy_array` gives: nothing would be trained."""
    arrays = read_h5(small_h5).arrays
    write_h5(tmp_path / "plain.h5", arrays, frozen=frozenset(arrays))
    assert all(v.need_grad for v in load_model(tmp_path / "plain.h5").variables().values())


def test_a_scalar_that_nnabla_wrote_as_one_number_in_a_row_is_read(rewritten):
    path = rewritten(lambda arrays: arrays.update(logit_scale=np.float32([3.0])))
    scale = load_model(path).variables()["logit_scale"]
    assert scale.shape == () and float(scale.d) == 3.0


def test_a_file_without_metadata_is_read_as_openais(small_h5, small_config, tmp_path):
    write_h5(tmp_path / "plain.h5", read_h5(small_h5).arrays)  # as Sony publishes them
    config = load_model(tmp_path / "plain.h5").config
    assert config.embed == small_config.embed and config.image.resolution == 32
    for found, made in ((config.image, small_config.image), (config.text, small_config.text)):
        heads = made.blocks.width // 64  # which shapes do not tell, and the model had others
        assert found.blocks == dataclasses.replace(made.blocks, heads=heads) != made.blocks


def removed(arrays):
    del arrays[NAME]


def added(arrays):
    arrays["visual/extra"] = np.zeros((2, 3), np.float32)


def reshaped(arrays):
    arrays[NAME] = np.zeros((256, 1), np.float32)


def renamed(arrays):
    arrays["visual.proj"] = arrays.pop("visual/proj")


def of_a_resnet(arrays):
    for name in list(arrays):
        if name.startswith("visual/transformer"):
            del arrays[name]


def wrong_scale(arrays):
    arrays["logit_scale"] = np.zeros(3, np.float32)


def wrong_tokens(arrays):
    arrays["visual/positional_embedding"] = np.zeros((15, 64), np.float32)


BAD = {
    "missing": (removed, (NAME, "missing", "(256,)")),
    "left over": (added, ("visual/extra", "(2, 3)", "no such tensor")),
    "wrong shape": (reshaped, (NAME, "(256, 1)", "(256,)")),
    "foreign names": (renamed, ("visual/proj", "convert/torch_to_h5.py")),
    "another tower": (of_a_resnet, ("visual/transformer/resblocks/0", "no such tensor")),
    "a row of scales": (wrong_scale, ("logit_scale", "(3,)")),
    "a grid that is no square": (wrong_tokens, ("visual/positional_embedding", "15 tokens")),
}


@pytest.fixture(scope="module")
def loaded(small_h5):
    return clip.load(small_h5)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_model_is_told_in_one_error_and_the_loaded_one_stays(kind, rewritten, loaded):
    change, words = BAD[kind]
    path = rewritten(change)
    images = np.zeros((1, 3, 32, 32), np.float32)
    before = loaded.encode_image(images)
    with pytest.raises(CheckpointError) as caught:
        clip.load(path)
    assert all(word in str(caught.value) for word in (str(path), *words)), caught.value
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(clip.encode_image(images), before)
    assert not nn.get_parameters(grad_only=False)


def test_heads_that_do_not_divide_the_width_are_refused(rewritten):
    path = rewritten(lambda arrays: None, {"image_heads": 7})
    with pytest.raises(CheckpointError, match="image_heads: found 7"):
        load_model(path)


def test_many_problems_are_counted(rewritten):
    def change(arrays):
        for name in [name for name in arrays if name.endswith("ln_2/b")]:
            arrays[name] = arrays.pop(name).reshape(1, -1)
            arrays[name + "2"] = arrays[name]

    with pytest.raises(CheckpointError, match="and 3 more"):
        load_model(rewritten(change))
