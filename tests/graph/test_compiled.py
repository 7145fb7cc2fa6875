"""Small random models beside OpenAI's own code and open_clip: all that they compute."""

import dataclasses

import pytest

from tests.graph.answers import (
    SMALL,
    UNUSUAL,
    assert_same,
    by_compiled_graph,
    by_compiled_step,
    by_nnabla,
    differences,
    lively_parameters,
    pairs,
    quick,
)
from tests.graph.torch_reference import by_open_clip, by_openai, open_clip_settings

pytestmark = pytest.mark.torch

CASES = {
    "OpenAI": (SMALL, by_openai),
    "open_clip, QuickGELU": (quick(UNUSUAL), by_open_clip),
    "open_clip, GELU": (UNUSUAL, by_open_clip),
}
RUNNERS = {
    "NNabla": by_nnabla,
    "compiled step": by_compiled_step,
    "compiled graph": by_compiled_graph,
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A model, its batch, and what the reference makes of it."""
    config, ask = CASES[request.param]
    scope, batch = lively_parameters(config, seed=3), pairs(config, batch=3, seed=4)
    described = config if ask is by_openai else open_clip_settings(config)
    return config, scope, batch, ask(described, scope, *batch)


@pytest.mark.parametrize("runner", RUNNERS)
def test_everything_equals_the_reference(case, runner):
    config, scope, batch, expected = case
    found = RUNNERS[runner](config, scope, *batch)
    layers = config.image.blocks.layers + config.text.blocks.layers
    assert len(found.values) == layers + (2 if runner == "compiled graph" else 4)
    assert len(found.gradients) == (0 if runner == "compiled graph" else len(expected.gradients))
    assert_same(found, expected)


@pytest.mark.parametrize("runner", RUNNERS)
def test_texts_may_be_shorter_than_the_context(runner):
    scope = lively_parameters(SMALL, seed=5)
    images, ids = pairs(SMALL, batch=2, seed=6)
    ids = ids[:, -4:]
    expected = by_openai(SMALL, scope, images, ids)
    assert_same(RUNNERS[runner](SMALL, scope, images, ids), expected)


@pytest.mark.parametrize("change", [{"activation": "quick_gelu"}, {"heads": 3}, {"eps": 1e-5}])
def test_what_shapes_do_not_tell_is_seen(change):
    """The comparison itself: a model that differs in one setting does not pass, in either tower."""
    scope, batch = lively_parameters(UNUSUAL, seed=3), pairs(UNUSUAL, batch=2, seed=4)
    expected = by_nnabla(UNUSUAL, scope, *batch)
    image = dataclasses.replace(UNUSUAL.image.blocks, **change)
    text = dataclasses.replace(UNUSUAL.text.blocks, **change)
    other = dataclasses.replace(
        UNUSUAL,
        image=dataclasses.replace(UNUSUAL.image, blocks=image),
        text=dataclasses.replace(UNUSUAL.text, blocks=text),
    )
    parts = differences(by_nnabla(other, scope, *batch), expected)
    assert min(parts["image/features"], parts["text/features"]) > 5
    assert sum(part > 1 for name, part in parts.items() if "gradient" in name) > 50
