"""BERT, DistilBERT and XLM-R against transformers, from random weights, with padded texts.

Axes: N batch, L tokens, D width.
"""

import dataclasses

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from nnclip.engine import agreement, available_precisions, compile_graph, compile_step
from nnclip.errors import DataError
from nnclip.graph.bert import BertConfig
from nnclip.graph.beside import empty_inputs, text_inputs, text_variables
from nnclip.graph.config import BlockConfig
from nnclip.graph.parameters import building, expected_tower_shapes, flatten, make_tower_parameters

VALUES, GRADIENTS = 2e-5, 1e-4  # tolerances, relative to norms
BERT = BertConfig(
    vocabulary=70,
    positions=30,
    context=22,
    blocks=BlockConfig(48, 3, 3, 90, "gelu", 1e-12),
    types=2,
)
DISTILBERT = BertConfig(
    vocabulary=70,
    positions=30,
    context=22,
    blocks=BlockConfig(64, 2, 4, 150, "gelu", 1e-12),
    pooling="mean",
    projection=20,
)
XLM_R = BertConfig(
    vocabulary=70,
    positions=32,
    context=22,
    blocks=BlockConfig(48, 2, 4, 90, "gelu", 1e-5),
    types=1,
    pad=1,
    first_position=2,
)
M_CLIP = dataclasses.replace(XLM_R, pooling="mean", projection=20, projection_bias=True)
CONFIGS = {"bert": BERT, "distilbert": DISTILBERT, "xlm_r": XLM_R, "m_clip": M_CLIP}


def texts(config: BertConfig, rows: int = 5) -> np.ndarray:
    """Ids (N, L) int64 of texts that end at different places; the last has padding within."""
    from nnclip.convert.answers import padded_ids

    ids = padded_ids(config, rows)
    ids[-1, 1:6] = (5, config.pad, 7, 8, config.pad)
    return ids


def lively(config: BertConfig) -> dict[str, nn.Variable]:
    """Parameters with gains and biases away from 1 and 0, and matrices large enough to matter."""
    rng = np.random.RandomState(5)
    scope = make_tower_parameters(config, config.features, seed=4)
    for variable in flatten(scope).values():
        if variable.ndim < 2:
            variable.d += 0.2 * rng.standard_normal(variable.shape)
        else:
            variable.d *= 3
    return scope


def by_nnabla(config, scope, ids):
    """Features, the output of each block, and gradients of a weighted sum of the features."""
    hidden: list[nn.Variable] = []
    ids_variable = nn.Variable.from_numpy_array(ids)
    with building(scope):
        features = config.build(text_variables(ids_variable, config), config.features, hidden)
        total = F.sum(features * nn.Variable.from_numpy_array(weighting(features.shape)))
    for variable in (features, *hidden):
        variable.persistent = True
    for variable in flatten(scope).values():
        variable.need_grad, variable.g = True, 0
    total.forward()
    total.backward()
    gradients = {name: v.g.copy() for name, v in flatten(scope).items()}
    return features.d.copy(), [x.d.copy() for x in hidden], gradients


def weighting(shape):
    return np.random.RandomState(6).standard_normal(shape).astype(np.float32)


def by_transformers(config, scope, ids):
    """The same by transformers' own code with the same weights."""
    import torch

    from nnclip.convert.bert import tokens_and_features
    from nnclip.convert.names import to_foreign, to_published
    from nnclip.convert.source import DIALECTS
    from nnclip.convert.tensors import of_array

    dialect = DIALECTS["bert" if config.types else "distilbert"]
    model, table = dialect.build(config), dialect.names.writing((config,))
    arrays = {name: of_array(v.d.copy()) for name, v in flatten(scope).items()}
    state = {k: torch.from_numpy(t.read()) for k, t in to_foreign(arrays, table).items()}
    left = model.load_state_dict(state, strict=False)
    assert not left.unexpected_keys and all("ids" in name for name in left.missing_keys)
    blocks = model.transformer.layer if hasattr(model, "transformer") else model.encoder.layer
    hidden = []
    for block in blocks:
        block.register_forward_hook(lambda *args: hidden.append(args[-1]))
    _, features = tokens_and_features(model, config, ids)
    (features * torch.from_numpy(weighting(features.shape))).sum().backward()
    states = [(h[0] if isinstance(h, tuple) else h).detach().numpy() for h in hidden]
    found = {name: of_array(p.grad.numpy()) for name, p in model.named_parameters()}
    gradients = {name: t.read() for name, t in to_published(found, table).items()}
    return features.detach().numpy(), states, gradients


def off(found, wanted):
    """The largest difference relative to the norm of its row."""
    assert found.shape == wanted.shape
    return (np.abs(found - wanted) / np.linalg.norm(wanted, axis=-1, keepdims=True)).max()


@pytest.mark.torch
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_block_feature_and_gradient_agrees_with_transformers(config):
    scope, ids = lively(config), texts(config)
    features, hidden, gradients = by_nnabla(config, scope, ids)
    wanted, states, wanted_gradients = by_transformers(config, scope, ids)
    if config.pooling == "first":  # the last block computes only what is read
        states[-1] = states[-1][:, :1]
    differences = {
        f"block {i}": off(a, b) for i, (a, b) in enumerate(zip(hidden, states, strict=True))
    }
    assert len(hidden) == config.blocks.layers
    differences["features"] = off(features, wanted)
    assert not {k: d for k, d in differences.items() if not d < VALUES}
    assert gradients.keys() == wanted_gradients.keys() == expected_tower_shapes(config, 0).keys()
    far = {
        name: np.linalg.norm(gradient - wanted_gradients[name])
        / np.linalg.norm(wanted_gradients[name])
        for name, gradient in gradients.items()
    }
    assert not {name: d for name, d in far.items() if not d < GRADIENTS}


@pytest.mark.torch
@pytest.mark.parametrize(
    "change",
    [{"first_position": 0}, {"pad": 0, "first_position": 1}, {"pooling": "mean"}],
    ids=["positions", "padding", "pooling"],
)
def test_a_wrong_setting_would_be_seen(change):
    """The test above would notice each of what tells the members of the family apart."""
    scope, ids = lively(XLM_R), texts(XLM_R)
    wrong = dataclasses.replace(XLM_R, **change)
    found, wanted = by_nnabla(wrong, scope, ids)[0], by_transformers(XLM_R, scope, ids)[0]
    assert off(found, wanted) > 100 * VALUES


def graph(config, scope, length, batch=2):
    inputs = empty_inputs(config, batch, length)
    with building(scope):
        return inputs, {"features": config.build(inputs, config.features)}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_compiled_is_what_nnabla_computes(config):
    scope, ids = lively(config), texts(config)
    wanted = by_nnabla(config, scope, ids)[0]
    arrays = text_inputs(ids, config)
    compiled = compile_graph(*graph(config, scope, ids.shape[1]))
    assert off(compiled(**arrays)["features"], wanted) < VALUES


@pytest.mark.skipif("bf16" not in available_precisions(), reason="no native bf16 here")
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_bf16_says_nearly_the_same(config):
    scope, ids = make_tower_parameters(config, config.features), texts(config)
    wanted = by_nnabla(config, scope, ids)[0]
    compiled = compile_graph(*graph(config, scope, ids.shape[1]), precision="bf16")
    found = compiled(**text_inputs(ids, config))["features"]
    assert agreement(found, wanted).least_cosine > 0.999


@pytest.mark.parametrize("config", [XLM_R, M_CLIP], ids=["xlm_r", "m_clip"])
def test_a_compiled_step_has_nnablas_gradients(config):
    scope, ids = lively(config), texts(config)
    wanted = by_nnabla(config, scope, ids)[2]
    inputs, outputs = graph(config, scope, ids.shape[1], len(ids))
    weights = nn.Variable.from_numpy_array(weighting((len(ids), config.features)))
    outputs = {"loss": F.sum(outputs["features"] * weights)}
    parameters = flatten(scope)
    for variable in parameters.values():
        variable.g = 0
    compile_step(inputs, outputs, parameters)(**text_inputs(ids, config))
    for name, variable in parameters.items():
        error = np.linalg.norm(variable.g - wanted[name]) / np.linalg.norm(wanted[name])
        assert error < GRADIENTS, name


@pytest.mark.parametrize("config", [BERT, XLM_R, M_CLIP], ids=["bert", "xlm_r", "m_clip"])
def test_columns_of_padding_change_nothing(config):
    """For every length: cut to it, filled up to the context, and with other texts beside it."""
    scope = lively(config)
    whole = compile_graph(*graph(config, scope, config.context))
    ids = texts(config, config.context - 1)[:-1]  # from the context down to three tokens
    wanted = whole(**text_inputs(ids, config))["features"]
    lengths = (ids != config.pad).sum(axis=1)
    assert sorted(set(lengths)) == list(range(3, config.context + 1))
    for row, length in enumerate(lengths):
        alone = by_nnabla(config, scope, ids[row : row + 1, :length])[0]
        assert off(alone, wanted[row : row + 1]) < VALUES, length


def test_positions_and_masks_are_counted_in_integers():
    ids = np.array([[0, 9, 2, 1, 1], [0, 1, 9, 2, 1]])
    found = text_inputs(ids, XLM_R)
    np.testing.assert_array_equal(found["mask"], [[1, 1, 1, 0, 0], [1, 0, 1, 1, 0]])
    np.testing.assert_array_equal(found["positions"], [[2, 3, 4, 1, 1], [2, 1, 3, 4, 1]])
    assert list(text_inputs(ids, BERT)) == ["ids", "mask"]


def test_a_text_of_padding_alone_and_ids_without_a_row_are_refused():
    with pytest.raises(DataError, match=r"only padding \(1\) in row 1"):
        text_inputs(np.array([[0, 2], [1, 1]]), XLM_R)
    variable = nn.Variable.from_numpy_array(np.array([[0, 70]]))
    with building(lively(XLM_R)):
        features = XLM_R.build(text_variables(variable, XLM_R), 48)
    with pytest.raises(SystemError) as caught:  # NNabla wraps what a PythonFunction raises
        features.forward()
    assert "found 0 to 70, expected 0 to 69" in str(caught.value.__cause__)
