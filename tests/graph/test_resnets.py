"""ResNets beside the code that others published: features, gradients, statistics.

Gradients are those of a weighted sum of the features.
"""

from collections import Counter
from typing import Any, NamedTuple

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from nnclip.engine import available_precisions, compile_graph, compile_step, quantize
from nnclip.engine.compiler import emit_graph
from nnclip.engine.model import compile_model
from nnclip.engine.stock import StockStep
from nnclip.errors import CheckpointError
from nnclip.graph.config import (
    PUBLISHED,
    ClipResNetConfig,
    ResNetConfig,
)
from nnclip.graph.convolution import is_statistic
from nnclip.graph.parameters import (
    Scope,
    building,
    expected_tower_shapes,
    flatten,
    make_tower_parameters,
    scope_of,
)
from nnclip.graph.reading import Reader
from nnclip.graph.torch_resnet import TORCH_RESNETS
from nnclip.graph.towers import ImageTower, read_image
from nnclip.image import Preprocess

pytestmark = pytest.mark.torch

VALUES, GRADIENTS = 2e-5, 1e-4  # relative: of a feature's norm, of a gradient's norm
# Heads that are not 64 wide, sides that no stride divides, blocks whose shortcut is the identity.
TOWERS: dict[str, tuple[ImageTower, int]] = {
    "clip": (ClipResNetConfig(Preprocess(64), (2, 1, 1, 1), 8, 8), 20),
    "basic": (ResNetConfig(Preprocess(38), (1, 2, 1, 1), False), 512),
    "bottleneck": (ResNetConfig(Preprocess(38), (2, 1, 1, 1), True), 2048),
}
K_BIAS = "visual/attnpool/k_proj/b"  # adds the same to all scores: its gradient is rounding


class Case(NamedTuple):
    """A tower in torch, its parameters for NNabla, and images."""

    model: Any
    config: ImageTower
    width: int
    scope: Scope
    images: np.ndarray

    def published(self, tensors: dict[str, Any]) -> dict[str, np.ndarray]:
        """Arrays by published names."""
        from nnclip.convert.names import to_published
        from nnclip.convert.source import DIALECTS
        from nnclip.convert.tensors import of_array

        clip = isinstance(self.config, ClipResNetConfig)
        dialect = DIALECTS["openai" if clip else "torchvision"]
        before = "visual." if clip else ""
        found = {before + k: of_array(t.detach().numpy().copy()) for k, t in tensors.items()}
        table = dialect.names.writing((self.config,))
        return {name: t.read() for name, t in to_published(found, table).items()}


def made(name: str, batch: int = 3) -> Case:
    import torch

    from nnclip.convert.openai import openai_code
    from nnclip.convert.source import DIALECTS

    config, width = TOWERS[name]
    torch.manual_seed(0)
    if isinstance(config, ClipResNetConfig):
        model = openai_code().ModifiedResNet(
            config.layers, width, config.heads, config.resolution, config.width
        )
    else:
        model = DIALECTS["torchvision"].build(config)
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim == 1:
                tensor.add_(0.2 * torch.randn_like(tensor))
    images = torch.randn(batch, 3, config.resolution, config.resolution).numpy()
    case = Case(model.eval(), config, width, {}, images)
    variables = {
        key: nn.Variable.from_numpy_array(array, need_grad=not is_statistic(key))
        for key, array in case.published(model.state_dict()).items()
    }
    assert {k: v.shape for k, v in variables.items()} == expected_tower_shapes(config, width)
    return case._replace(scope=scope_of(variables))


@pytest.fixture(params=TOWERS)
def case(request) -> Case:
    return made(request.param)


def far(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], limit: float) -> dict:
    """What differs by more than `limit`, relative to the norm of the whole."""
    assert found.keys() == expected.keys()
    off = {
        k: float(np.linalg.norm(found[k] - expected[k]) / np.linalg.norm(expected[k]))
        for k in expected
    }
    return {k: d for k, d in off.items() if not d <= limit}


def of_torch(case: Case, trained: bool, seeds: np.ndarray) -> tuple[dict, dict, dict]:
    """Stages and features; gradients; statistics after the pass."""
    import torch

    model, values = case.model.train(trained), {}
    for i in (1, 2, 3, 4):
        getattr(model, f"layer{i}").register_forward_hook(
            lambda _, __, output, i=i: values.update({f"stage {i}": output})
        )
    values["features"] = model(torch.from_numpy(case.images))
    (values["features"] * torch.from_numpy(seeds)).sum().backward()
    gradients = {k: p.grad for k, p in model.named_parameters()}
    after = case.published(dict(model.state_dict()))
    return (
        {k: v.detach().numpy() for k, v in values.items()},
        case.published(gradients),
        {k: v for k, v in after.items() if is_statistic(k)},
    )


@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("make", [StockStep, compile_step], ids=["nnabla", "compiled"])
def test_stages_gradients_and_statistics_equal_those_of_torch(case, make, trained):
    seeds = np.random.default_rng(1).normal(size=(3, case.width)).astype(np.float32)
    images, hidden = nn.Variable(case.images.shape), []
    with building(case.scope):
        features = case.config.build(images, case.width, hidden, trained)
        loss = F.sum(features * nn.Variable.from_numpy_array(seeds))
    outputs = {f"stage {i}": x for i, x in enumerate(hidden, 1)} | {"features": features}
    parameters = flatten(case.scope)
    step = make({"images": images}, {"loss": loss, **outputs}, parameters)
    found = step(images=case.images)
    values, gradients, statistics = of_torch(case, trained, seeds)
    # NNabla's own variance of a batch is the mean of the squares less the square of the mean
    rougher = 10 if trained and make is StockStep else 1
    assert not far({k: found[k] for k in values}, values, VALUES * rougher)
    # Then a unit in ten thousand may be on the other side of its ReLU, in torch as well as here:
    # of the last stage's units a single one is a part in a hundred of the gradient.
    limit = 5e-2 if trained else GRADIENTS
    own = {k: np.array(v.g) for k, v in parameters.items() if v.need_grad}
    if gradients.pop(K_BIAS, None) is not None:
        assert not own.pop(K_BIAS).any()
    assert not far(own, gradients, limit)
    assert not far({k: parameters[k].d for k in statistics}, statistics, VALUES)


@pytest.mark.parametrize("make", [StockStep, compile_step], ids=["nnabla", "compiled"])
def test_a_pass_without_gradients_leaves_the_statistics(case, make):
    images = nn.Variable(case.images.shape)
    with building(case.scope):
        features = case.config.build(images, case.width, trained_statistics=True)
    parameters = flatten(case.scope)
    before = {k: np.array(v.d) for k, v in parameters.items()}
    make({"images": images}, {"features": features}, parameters, of=())(images=case.images)
    assert not far({k: v.d for k, v in parameters.items()}, before, 0.0)


def compiled(case: Case) -> tuple[dict[str, nn.Variable], dict[str, nn.Variable]]:
    size = case.config.resolution
    images = nn.Variable((2, 3, size, size))
    with building(case.scope):
        return {"images": images}, {"features": case.config.build(images, case.width)}


def cosines(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return (found * expected).sum(axis=1) / norms


def test_compiled_for_answers(case):
    """For any batch; in int8 near, with statistics folded into the convolutions."""
    import torch

    graph, arrays = compiled(case), {"images": case.images}
    with torch.no_grad():
        expected = case.model(torch.from_numpy(case.images)).numpy()
    found = compile_graph(*graph)(**arrays)["features"]
    assert not far({"features": found}, {"features": expected}, VALUES)
    whole = quantize(*graph, arrays)(**arrays)["features"]
    assert cosines(whole, expected).min() > 0.97


@pytest.mark.skipif("bf16" not in available_precisions(), reason="no native bf16 here")
def test_compiled_in_bf16_it_says_nearly_the_same(case):
    graph, arrays = compiled(case), {"images": case.images}
    exact, low = (
        compile_graph(*graph, precision=p)(**arrays)["features"] for p in ("fp32", "bf16")
    )
    assert cosines(low, exact).min() > 0.999


def test_normalisations_and_shortcuts_cost_nothing():
    """Compiled, gains, statistics, ReLUs and sums are parts of the convolutions."""
    model = compile_model(emit_graph(*compiled(made("clip"))).model, "fp32")
    nodes = model.get_runtime_model().get_ops()
    kinds = Counter(node.get_rt_info()["layerType"].value for node in nodes)
    assert kinds["Convolution"] == 3 + 5 * 3 + 4  # stem, blocks, shortcuts
    assert kinds["Eltwise"] == 2  # positions, and the bias of the values


def test_shapes_and_metadata_tell_everything(case):
    shapes = {k: v.shape for k, v in flatten(case.scope).items()}
    found = read_image(Reader(shapes, case.config.metadata()))
    assert found == (case.config, case.width)


def test_a_resnet_begins_as_openai_begins_it():
    """Gains of 0 at the end of each block; spreads as in OpenAI's `initialize_parameters`."""
    from nnclip.convert.openai import openai_code

    config = ClipResNetConfig(Preprocess(64), (1, 1, 1, 1), 32, 16)
    model = openai_code().CLIP(64, 64, config.layers, 32, None, 8, 50, 64, 1, 1)
    case = Case(model, config, 64, {}, np.zeros(0))
    expected = case.published({k.removeprefix("visual."): v for k, v in model.state_dict().items()})
    found = {k: v.d for k, v in flatten(make_tower_parameters(config, 64, seed=0)).items()}
    for name, array in found.items():
        if array.size > 1000:
            assert array.std() == pytest.approx(expected[name].std(), rel=0.1), name
            assert abs(array).max() == pytest.approx(abs(expected[name]).max(), rel=0.3), name
        elif "attnpool" not in name and array.ndim == 1:
            np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 100}, "resolution: found 100, expected 64"),
        ({"image_heads": 5}, "image_heads: found 5, expected a divisor of the width 256"),
    ],
)
def test_metadata_that_does_not_fit(change, message):
    config, width = TOWERS["clip"]
    shapes = expected_tower_shapes(config, width)
    with pytest.raises(CheckpointError, match=message):
        read_image(Reader(shapes, {**config.metadata(), **change}))


def test_a_tensor_that_tells_a_size_must_be_there():
    config, width = TOWERS["clip"]
    for name in ("visual/attnpool/positional_embedding", "visual/attnpool/c_proj/W"):
        shapes = {k: v for k, v in expected_tower_shapes(config, width).items() if k != name}
        with pytest.raises(CheckpointError, match=f"tensor {name}: found no such tensor"):
            read_image(Reader(shapes))
    shapes = expected_tower_shapes(config, width) | {"visual/attnpool/positional_embedding": (9, 9)}
    with pytest.raises(CheckpointError, match="found 9 tokens"):
        read_image(Reader(shapes))


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["RN50", "RN101", "resnet18", "resnet34", "resnet50"])
def test_full_size(name, monkeypatch):
    """Features of a compiled tower of a published size."""
    if name in TORCH_RESNETS:
        tower = TORCH_RESNETS[name], TORCH_RESNETS[name].features
    else:
        tower = PUBLISHED[name].image, PUBLISHED[name].embed
    monkeypatch.setitem(TOWERS, name, tower)
    case = made(name, batch=2)
    import torch

    with torch.no_grad():
        expected = case.model(torch.from_numpy(case.images)).numpy()
    found = compile_graph(*compiled(case))(images=case.images)["features"]
    assert not far({"features": found}, {"features": expected}, VALUES)
