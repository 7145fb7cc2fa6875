"""What a model is, from the shapes of its tensors and back."""

import math

import pytest

from nnclip.errors import CheckpointError
from nnclip.graph.config import PUBLISHED, config_from_shapes, metadata_of
from nnclip.graph.parameters import expected_shapes
from tests.graph.answers import SMALL, UNUSUAL

# Counted in OpenAI's published checkpoints.
PARAMETERS = {
    "ViT-B/32": 151_277_313,
    "ViT-B/16": 149_620_737,
    "ViT-L/14": 427_616_513,
    "ViT-L/14@336px": 427_944_193,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_the_published_number_of_parameters(name):
    shapes = expected_shapes(PUBLISHED[name])
    assert sum(math.prod(shape) for shape in shapes.values()) == PARAMETERS[name]
    assert len(shapes) == (302 if "B" in name else 446)
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
