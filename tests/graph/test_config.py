"""What a model is, from the shapes of its tensors and back."""

import math

import pytest

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
