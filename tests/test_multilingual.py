"""A model whose texts go through another encoder: converted, joined, asked, differentiated, kept.

The encoder is XLM-R's in small, saved by transformers.
"""

import nnabla as nn
import numpy as np
import pytest

from nnclip import clip
from nnclip.cli import main
from nnclip.convert import torch_to_h5
from nnclip.errors import CheckpointError, DataError
from nnclip.graph.beside import text_inputs, used_columns
from nnclip.towers import TOGETHER
from nnclip.weights.h5 import read_h5, write_h5
from tests.convert.encoder_samples import xlm_roberta

pytestmark = pytest.mark.torch
TEXTS = ["a dog on the grass", "собака", "ein hund, perros und 犬", "a", "cat " * 13]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return xlm_roberta(tmp_path_factory.mktemp("xlm_roberta"))


@pytest.fixture(scope="module")
def joined(sample, small_h5, tmp_path_factory):
    """CLIP's small image tower and the encoder, with a head on each."""
    folder = tmp_path_factory.mktemp("joined")
    words = [str(sample.path), str(folder / "text.h5"), "--context", "16"]
    assert torch_to_h5.main(words) == 0
    path = folder / "model.h5"
    words = ["join", str(small_h5), str(folder / "text.h5"), "-o", str(path), "--heads", "residual"]
    assert main(words) == 0
    return path


@pytest.fixture(scope="module")
def model(joined):
    return clip.CLIP(joined, precision="fp32")


def test_arrays_and_variables_give_the_same_features(model):
    ids = model.tokenize(TEXTS)
    assert ids.shape == (5, 16) and ids[3].tolist() == [2, 4, 3] + [1] * 13
    found = model.encode_text(ids)
    assert found.shape == (5, model.config.embed)
    variable = model.encode_text(nn.Variable.from_numpy_array(ids))
    variable.forward()
    np.testing.assert_allclose(found, variable.d, atol=2e-5)


def test_a_text_alone_or_among_longer_ones_is_the_same(model):
    ids = model.tokenize(TEXTS)
    together = model.encode_text(ids)
    for row, text in enumerate(TEXTS):
        alone = model.encode_text(model.tokenize([text]))
        np.testing.assert_allclose(alone[0], together[row], atol=2e-5)
        used = used_columns(text_inputs(ids, model.config.text), model.config.text)[row]
        short = ids[row : row + 1, :used]
        np.testing.assert_allclose(model.encode_text(short)[0], together[row], atol=2e-5)


def test_many_texts_of_all_lengths_come_back_in_their_order(model):
    """More than one call takes: they are sorted by length, and given back as they came."""
    words = [" ".join(["dog"] * (1 + number * 7 % 12)) for number in range(TOGETHER * 2 + 5)]
    ids = model.tokenize(words, truncate=True)
    together = model.encode_text(ids)
    for row in range(0, len(words), 9):
        np.testing.assert_allclose(
            model.encode_text(ids[row : row + 1])[0], together[row], atol=2e-5
        )


def test_probabilities_and_gradients_of_a_whole_model(model):
    pixels = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    ids = model.tokenize(TEXTS)
    np.testing.assert_allclose(model.probabilities(pixels, ids).sum(axis=1), 1, atol=1e-5)
    per_image, _ = model.logits(*map(nn.Variable.from_numpy_array, (pixels, ids)))
    parameters = model.parameters()
    for parameter in parameters.values():
        parameter.g = 0
    per_image.forward()
    per_image.backward(np.random.default_rng(1).normal(size=per_image.shape))
    for name in ("bert/token_embedding/W", "bert/positional_embedding", "text_head/proj/W"):
        assert np.abs(parameters[name].g).max() > 0, name


def test_saved_and_loaded_it_is_the_same(model, tmp_path):
    model.save(tmp_path / "copy.h5")
    copy = clip.CLIP(tmp_path / "copy.h5", precision="fp32")
    assert copy.config == model.config and copy.tokenizer.json == model.tokenizer.json
    ids = copy.tokenize(TEXTS)
    np.testing.assert_array_equal(copy.encode_text(ids), model.encode_text(ids))


def test_what_does_not_fit_is_named(model, joined, tmp_path):
    ids = model.tokenize(TEXTS)
    for wrong, expected in (
        (np.full((1, 16), 1), "found only padding"),
        (np.zeros((1, 17), np.int32), "L from 1 to 16"),
        (np.full((1, 4), 99), "ids holds ids from 0 to 99"),
        (ids.astype(np.float32), "expected integers"),
    ):
        with pytest.raises(DataError, match=expected):
            model.encode_text(wrong)
    with pytest.raises(DataError, match="expected at most 16"):
        model.tokenize(["dog " * 30])
    file = read_h5(joined)
    metadata = {k: v for k, v in file.metadata.items() if k != "tokenizer"}
    write_h5(tmp_path / "mute.h5", file.arrays, metadata)
    with pytest.raises(CheckpointError, match="found no tokenizer in its metadata"):
        clip.CLIP(tmp_path / "mute.h5")
