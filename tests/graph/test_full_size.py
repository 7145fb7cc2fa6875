"""The published transformers with random weights, compiled, beside OpenAI's code and open_clip's.

Two pairs each. Everything comes from one compiled training step: hidden states, features, logits,
loss and gradients; and hidden states and features from the compiled towers. NNabla itself, which
takes minutes for the larger sizes, is compared with ViT-B/32 in test_parity.py.
"""

import gc

import pytest
from nnabla_ext.cpu import clear_memory_cache

from nnclip.graph.config import PUBLISHED
from tests.graph.answers import (
    assert_same,
    by_compiled_graph,
    by_compiled_step,
    lively_parameters,
    pairs,
)
from tests.graph.torch_reference import by_open_clip, by_openai
from tests.lazy import lazy

open_clip = lazy("open_clip")

pytestmark = [pytest.mark.torch, pytest.mark.heavy]

OPEN_CLIP_NAMES = {
    "ViT-B/32": "ViT-B-32-quickgelu",
    "ViT-B/16": "ViT-B-16-quickgelu",
    "ViT-L/14": "ViT-L-14-quickgelu",
    "ViT-L/14@336px": "ViT-L-14-336-quickgelu",
}


LARGEST = "ViT-L/14@336px"  # ViT-L/14's parameters, but for its positions: three minutes


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if name == LARGEST else ())
        for name in OPEN_CLIP_NAMES
    ],
)
def test_a_published_size_equals_both_references(name):
    """open_clip's model is made from its own configuration of that name, not from ours."""
    config = PUBLISHED[name]
    scope, batch = lively_parameters(config, seed=3), pairs(config, batch=2, seed=4)
    step, towers = (run(config, scope, *batch) for run in (by_compiled_step, by_compiled_graph))
    settings = open_clip.get_model_config(OPEN_CLIP_NAMES[name])
    assert settings["quick_gelu"]
    for ask, described in ((by_openai, config), (by_open_clip, settings)):
        expected = ask(described, scope, *batch)
        assert_same(step, expected)
        assert_same(towers, expected)
        del expected  # as large as the model
        gc.collect()
    clear_memory_cache()
