"""Projection heads against torch modules written from the formula, with and without dropout."""

import dataclasses

import nnabla as nn
import numpy as np
import pytest

from nnclip.engine import compile_graph, compile_step
from nnclip.errors import CheckpointError
from nnclip.graph.config import config_from_shapes, metadata_of
from nnclip.graph.heads import FORMS, HeadConfig, dropout_masks, head, head_from_shapes
from nnclip.graph.parameters import building, expected_shapes, flatten, make_parameters

ROWS, WIDTH, EMBED = 6, 24, 16


def torch_head(arrays, layers):
    """The published Projection modules; dropout stands as the product it is."""
    import torch

    class Projection(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(WIDTH, EMBED, bias=False)
            self.rest = torch.nn.ModuleList(
                torch.nn.Linear(EMBED, EMBED, bias=False) for _ in range(layers)
            )
            self.norm = torch.nn.LayerNorm(EMBED)  # one for all layers

        def forward(self, x, keep=None):
            p = self.first(x)
            for number, layer in enumerate(self.rest):
                x = layer(torch.nn.functional.gelu(p))
                p = self.norm(p + (x if keep is None else x * keep[:, number]))
            return p

    module = Projection()
    own = {"h/proj/W": module.first.weight, "h/norm/W": module.norm.weight}
    own["h/norm/b"] = module.norm.bias
    own |= {f"h/layers/{s}/W": layer.weight for s, layer in enumerate(module.rest)}
    with torch.no_grad():
        for name, array in arrays.items():
            own[name].copy_(torch.from_numpy(array))
    return module, {name: own[name] for name in arrays}


@pytest.fixture(params=FORMS)
def config(request):
    return HeadConfig(WIDTH, EMBED, FORMS[request.param])


@pytest.fixture
def built(config, rng):
    """The graph with dropout, its inputs and parameters (none at its initial value)."""
    scope = {}
    inputs = {"x": nn.Variable((ROWS, WIDTH)), "grad": nn.Variable((ROWS, EMBED))}
    inputs["keep"] = nn.Variable((ROWS, config.layers, EMBED))
    with building(scope):
        features = head(inputs["x"], config, "h", inputs["keep"])
        plain = head(inputs["x"], config, "h")
    parameters = flatten(scope)
    for variable in parameters.values():
        variable.d = rng.normal(size=variable.shape) * 0.3
    return inputs, features, plain, parameters


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.torch
def test_features_and_gradients_are_those_of_torch(config, built, rng):
    import torch

    inputs, features, plain, parameters = built
    if not config.layers:  # a linear map has nothing to drop
        del inputs["keep"]
    arrays = {
        "x": rng.normal(size=(ROWS, WIDTH)).astype(np.float32),
        "keep": dropout_masks((412, 1), 0, ROWS, config),
        "grad": rng.normal(size=(ROWS, EMBED)).astype(np.float32),
    }
    given = {name: arrays[name] for name in inputs}
    module, own = torch_head({k: v.d.copy() for k, v in parameters.items()}, config.layers)
    x, keep, grad = map(torch.from_numpy, arrays.values())
    wanted = module(x, keep)
    (wanted * grad).sum().backward()

    answers = compile_graph({"x": inputs["x"]}, {"features": plain}, precision="fp32")
    assert relative(answers(x=arrays["x"])["features"], module(x).detach().numpy()) < 2e-5
    loss = nn.functions.sum(features * inputs["grad"])
    step = compile_step(inputs, {"features": features, "loss": loss}, parameters)
    compiled = step(**given)["features"]
    assert relative(compiled, wanted.detach().numpy()) < 2e-5
    for name, variable in parameters.items():
        assert relative(variable.g, own[name].grad.numpy()) < 1e-4, name
        variable.g = 0
    for name, variable in inputs.items():
        variable.d = given[name]
    nn.forward_all([features, loss])
    loss.backward()
    for name, variable in parameters.items():
        assert relative(variable.g, own[name].grad.numpy()) < 1e-4, name


@pytest.mark.torch
def test_masks_drop_as_often_as_torch_and_keep_the_mean():
    import torch

    config = HeadConfig(WIDTH, 64, 3, dropout=0.3)
    mask = dropout_masks((412, 1), 0, 500, config)
    torch.manual_seed(0)
    wanted = torch.nn.Dropout(0.3)(torch.ones(500, 3, 64)).numpy()
    assert mask.shape == wanted.shape and mask.dtype == wanted.dtype
    np.testing.assert_allclose(np.unique(mask), np.unique(wanted), rtol=1e-6)
    assert mask.mean() == pytest.approx(1, abs=0.01)
    assert (mask == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert abs(np.corrcoef(mask[:, 0, 0], mask[:, 2, 63])[0, 1]) < 0.2


def test_a_part_of_the_masks_is_the_part_of_the_stream():
    config = HeadConfig(WIDTH, 10, 3, dropout=0.3)  # 30 numbers, which fill no block
    whole = dropout_masks((1, 2), 5, 8, config)
    parts = [dropout_masks((1, 2), at, 4, config) for at in (5, 9)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert (whole != dropout_masks((1, 3), 5, 8, config)).any()
    assert (whole != dropout_masks((2, 2), 5, 8, config)).any()


def test_parameters_begin_where_torch_begins():
    scope = {}
    with building(scope):
        head(nn.Variable((1, 64)), HeadConfig(64, 256, 2), "h")
    found = flatten(scope)
    assert sorted(found) == ["h/layers/0/W", "h/layers/1/W", "h/norm/W", "h/norm/b", "h/proj/W"]
    assert 0.115 < np.abs(found["h/proj/W"].d).max() <= 1 / 8
    assert 0.058 < np.abs(found["h/layers/1/W"].d).max() <= 1 / 16
    assert (found["h/norm/W"].d == 1).all() and (found["h/norm/b"].d == 0).all()


def test_a_model_with_heads_is_found_again_from_its_shapes(small_config):
    config = dataclasses.replace(
        small_config, image_head=HeadConfig(48, 32, 3, 0.1), text_head=HeadConfig(40, 32, 0)
    )
    shapes = expected_shapes(config)
    assert shapes["visual/proj"] == (64, 48) and shapes["text_projection"] == (64, 40)
    assert config_from_shapes(shapes, metadata_of(config)) == config
    assert make_parameters(config)["visual_head"]
    wrong = {**shapes, "text_head/proj/W": (31, 40)}
    with pytest.raises(CheckpointError, match="width 32 for images and 31 for texts"):
        config_from_shapes(wrong, metadata_of(config))


@pytest.mark.parametrize(
    ("shapes", "metadata", "message"),
    [
        ({"h/norm/W": (4,)}, {}, r"h/proj/W: found shape none"),
        ({"h/proj/W": (4, 3, 2)}, {}, r"h/proj/W: found shape \(4, 3, 2\)"),
        ({"h/proj/W": (4, 3)}, {"h_dropout": 1.0}, r"h_dropout: found 1.0"),
        ({"h/proj/W": (4, 3)}, {"h_dropout": "half"}, r"h_dropout: found 'half'"),
    ],
)
def test_an_impossible_head_is_refused(shapes, metadata, message):
    with pytest.raises(CheckpointError, match=message):
        head_from_shapes(shapes, metadata, "h")


def test_shapes_without_a_head_have_none():
    assert head_from_shapes({"visual/proj": (4, 3)}, {}, "visual_head") is None
