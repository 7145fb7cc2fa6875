"""One tower alone: written, read, read out of a whole model, and refused where it does not fit."""

import numpy as np
import pytest

from nnclip.clip import CLIP
from nnclip.errors import CheckpointError
from nnclip.graph.config import BertConfig, BlockConfig
from nnclip.graph.parameters import make_tower_parameters
from nnclip.weights.h5 import read_h5, write_h5
from nnclip.weights.model import load_model
from nnclip.weights.tower import TowerWeights, load_tower, save_tower, side_of

BERT = BertConfig(
    vocabulary=50,
    positions=20,
    context=16,
    blocks=BlockConfig(24, 2, 3, 40, "gelu", 1e-5),
    types=1,
    pad=1,
    first_position=2,
    pooling="mean",
    projection=12,
    projection_bias=True,
)


@pytest.fixture
def bert_h5(tmp_path):
    tower = TowerWeights(BERT, BERT.features, make_tower_parameters(BERT, 12, seed=3), {"note": 5})
    save_tower(tmp_path / "bert.h5", tower)
    return tmp_path / "bert.h5"


def test_what_is_saved_is_what_is_loaded(bert_h5):
    tower = load_tower(bert_h5)
    assert (tower.side, tower.config, tower.width) == ("text", BERT, 12)
    assert tower.metadata["note"] == 5
    expected = make_tower_parameters(BERT, 12, seed=3)
    again = TowerWeights(BERT, 12, expected, {}).variables()
    assert tower.variables().keys() == again.keys()
    for name, variable in tower.variables().items():
        np.testing.assert_array_equal(variable.d, again[name].d)


@pytest.mark.parametrize("side", ["image", "text"])
def test_either_tower_of_a_whole_model(side, other_h5, tmp_path):
    whole, tower = load_model(other_h5), load_tower(other_h5, side)
    assert tower.side == side and tower.config == getattr(whole.config, side)
    own = {name for name in whole.variables() if side_of(name) == side}
    assert tower.variables().keys() == own
    save_tower(tmp_path / "alone.h5", tower)
    alone = load_tower(tmp_path / "alone.h5")
    assert (alone.config, alone.width) == (tower.config, whole.config.embed)
    assert read_h5(tmp_path / "alone.h5").arrays.keys() == own


def test_a_tower_is_not_taken_for_a_model(bert_h5):
    for load in (load_model, CLIP):
        with pytest.raises(CheckpointError, match=r"bert\.h5: .*nnclip join"):
            load(bert_h5)


def test_what_does_not_fit_is_refused(bert_h5, small_h5, tmp_path):
    with pytest.raises(CheckpointError, match=r"small\.h5: found a whole model"):
        load_tower(small_h5)
    with pytest.raises(CheckpointError, match=r"bert\.h5: found the text tower alone"):
        load_tower(bert_h5, "image")
    file = read_h5(bert_h5)
    for metadata, expected in (
        ({**file.metadata, "tower": "sound"}, "metadata tower: found 'sound'"),
        ({**file.metadata, "bert_pooling": "max"}, "metadata bert_pooling: found 'max'"),
        ({**file.metadata, "bert_heads": 5}, "bert_heads: found 5, expected a divisor"),
        ({**file.metadata, "bert_context": 19}, "bert_context: found 19 tokens, expected at most"),
    ):
        write_h5(tmp_path / "odd.h5", file.arrays, metadata)
        with pytest.raises(CheckpointError, match=expected):
            load_tower(tmp_path / "odd.h5")
    for damage, expected in (
        ({"bert/ln_embedding/W": None}, "tensor bert/ln_embedding/W: missing"),
        ({"bert/extra": np.zeros(3, "f4")}, "tensor bert/extra: found with shape"),
        ({"bert/projection/b": np.zeros(3, "f4")}, r"bert/projection/b: found shape \(3,\)"),
    ):
        arrays = {k: v for k, v in {**file.arrays, **damage}.items() if v is not None}
        write_h5(tmp_path / "odd.h5", arrays, file.metadata)
        with pytest.raises(CheckpointError, match=expected):
            load_tower(tmp_path / "odd.h5")
