"""What a model is, from the shapes of its tensors and back."""

import math

import pytest

from nnclip.errors import CheckpointError
from nnclip.graph.config import PUBLISHED, config_from_shapes, metadata_of
from nnclip.graph.convolution import is_statistic
from nnclip.graph.parameters import expected_shapes
from tests.graph.answers import SMALL, UNUSUAL

# Counted in OpenAI's published checkpoints.
PARAMETERS = {
    "ViT-B/32": 151_277_313,
    "ViT-B/16": 149_620_737,
    "ViT-L/14": 427_616_513,
    "ViT-L/14@336px": 427_944_193,
    "RN50": 102_007_137,
    "RN101": 119_688_033,
    "RN50x4": 178_300_601,
    "RN50x16": 290_979_217,
    "RN50x64": 623_258_305,
}
TENSORS = {"ViT-B/32": 302, "ViT-B/16": 302, "ViT-L/14": 446, "ViT-L/14@336px": 446}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_the_published_number_of_parameters(name):
    shapes = expected_shapes(PUBLISHED[name])
    learned = {k: shape for k, shape in shapes.items() if not is_statistic(k)}
    assert sum(math.prod(shape) for shape in learned.values()) == PARAMETERS[name]
    assert len(shapes) == TENSORS.get(name, len(shapes))
    assert config_from_shapes(shapes) == PUBLISHED[name]  # without a word of metadata


@pytest.mark.parametrize("config", [SMALL, UNUSUAL], ids=["usual", "unusual"])
def test_shapes_and_metadata_tell_everything(config):
    assert config_from_shapes(expected_shapes(config), metadata_of(config)) == config


@pytest.mark.parametrize(
    "name",
    [
        "visual/proj",
        "visual/conv1/W",
        "visual/positional_embedding",
        "visual/transformer/resblocks/0/mlp/c_fc/W",
        "positional_embedding",
        "token_embedding/W",
        "transformer/resblocks/0/mlp/c_fc/W",
    ],
)
def test_a_tensor_that_tells_a_size_must_be_there(name):
    shapes = dict(expected_shapes(UNUSUAL))
    del shapes[name]
    with pytest.raises(CheckpointError, match=f"tensor {name}: found no such tensor"):
        config_from_shapes(shapes)
    shapes[name] = (3,)
    with pytest.raises(CheckpointError, match=rf"tensor {name}: found shape \(3,\)"):
        config_from_shapes(shapes)
