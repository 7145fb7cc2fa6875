"""Convolutional image towers beside timm's own: features and gradients.

Each is one of timm's with narrow widths and few layers, and open_clip's projection. Gradients are
those of a weighted sum of the features.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from nnclip.engine import compile_step
from nnclip.engine.compiled_step import CompiledStep
from nnclip.engine.stock import StockStep
from nnclip.graph.convnext import ConvNextConfig
from nnclip.graph.parameters import Scope, building, expected_tower_shapes, flatten, scope_of
from nnclip.graph.reading import Reader
from nnclip.graph.towers import ImageTower, read_image
from nnclip.image import Preprocess

pytestmark = pytest.mark.torch

VALUES, GRADIENTS = 2e-5, 1e-4  # relative: of a feature's norm, of a gradient's norm
EMBED = 20


class Kind(NamedTuple):
    """A tower: its family's module, its timm name, and what makes it small."""

    module: str
    name: str
    sizes: Callable[[], dict[str, Any]]
    pixels: int
    proj: str | None = "linear"
    pool: str = ""


def small_convnext() -> dict[str, Any]:
    return {"depths": (1, 2, 1, 1), "dims": (8, 16, 24, 32)}


def small_vitamin(width: int) -> dict[str, Any]:
    """Keeps the number of heads."""
    from timm.models.vitamin import VitCfg

    stem = VitCfg(embed_dim=(8, 12, width), depths=(1, 2, 1), stem_width=8)
    return {"embed_cfg": stem, "embed_dim": width, "depth": 2, "img_size": 48}


def small_fastvit(stages: int) -> dict[str, Any]:
    return {"layers": (1, 2, 1, 2, 1)[:stages], "embed_dims": (16, 32, 64, 64, 128)[:stages]}


KINDS = {
    "convnext": Kind("timm_convnext", "convnext_base", small_convnext, 64),
    "convnext mlp": Kind("timm_convnext", "convnext_xxlarge", small_convnext, 64, "mlp"),
    "vitamin": Kind("timm_vitamin", "vitamin_small_224", lambda: small_vitamin(24), 48),
    "vitamin without positions": Kind(
        "timm_vitamin", "vitamin_xlarge_256", lambda: small_vitamin(32), 64
    ),
    "fastvit": Kind("timm_fastvit", "fastvit_mci0", lambda: small_fastvit(4), 64, None, "avg"),
    "three convolutions": Kind(  # its widths are not for choosing
        "timm_vit",
        "vit_base_mci_224",
        lambda: {"depth": 1, "img_size": 32},
        32,
        None,
        "token",
    ),
    "fastvit of five stages": Kind(
        "timm_fastvit", "fastvit_mci3", lambda: small_fastvit(5), 128, None, "avg"
    ),
}


class Case(NamedTuple):
    """A tower in torch, the same for NNabla, and images."""

    model: Any
    config: ImageTower
    scope: Scope
    images: np.ndarray
    published: Callable[..., dict[str, np.ndarray]]


def in_torch(kind: Kind, create: Callable[..., Any]) -> Any:
    """open_clip's image tower; gains, biases and statistics away from 1 and 0."""
    import open_clip.timm_model
    import torch

    module = open_clip.timm_model.timm
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "create_model", lambda *a, **k: create(*a, **k, **kind.sizes()))
        made = open_clip.timm_model.TimmModel(kind.name, EMBED, kind.pixels, kind.pool, kind.proj)
    with torch.no_grad():
        for key, tensor in made.state_dict().items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif "gamma" in key:
                tensor.copy_(0.5 + 0.1 * torch.randn_like(tensor))
            elif tensor.ndim == 1:
                tensor.add_(0.2 * torch.randn_like(tensor))
            elif tensor.ndim > 1:
                tensor.copy_(torch.randn_like(tensor) / tensor[0].numel() ** 0.5)
    return made.eval()


def made(name: str) -> Case:
    import importlib

    import timm
    import torch

    from nnclip.convert.names import to_published
    from nnclip.convert.tensors import of_array

    kind = KINDS[name]
    model = in_torch(kind, timm.create_model)
    family = importlib.import_module(f"nnclip.convert.{kind.module}").FAMILY

    def published(tensors: dict[str, Any], untouched: bool = False) -> dict[str, np.ndarray]:
        """By published names; only those that folding leaves as they are, if asked for."""
        given = {f"visual.{k}": of_array(t.detach().numpy().copy()) for k, t in tensors.items()}
        found = family.fold(given)
        if untouched:
            found = {name: t for name, t in found.items() if given.get(name) is t}
        return {k: t.read() for k, t in to_published(found, family.table).items()}

    arrays = published(model.state_dict())
    settings = {"timm_model_name": kind.name, "timm_proj": kind.proj, "timm_pool": kind.pool}
    source = SimpleNamespace(tensors={f"visual.{k}" for k in model.state_dict()})
    told = family.describe(source, {}, settings)
    told |= {"resolution": kind.pixels}
    config, width = read_image(Reader({k: a.shape for k, a in arrays.items()}, told))
    assert width == EMBED
    assert {k: a.shape for k, a in arrays.items()} == expected_tower_shapes(config, width)
    variables = {k: nn.Variable.from_numpy_array(a, need_grad=True) for k, a in arrays.items()}
    images = torch.randn(3, 3, kind.pixels, kind.pixels).numpy()
    return Case(model, config, scope_of(variables), images, published)


@pytest.fixture(scope="module", params=KINDS)
def case(request) -> Case:
    return made(request.param)


def graph(case: Case, batch: int) -> tuple[dict[str, nn.Variable], dict[str, nn.Variable]]:
    images = nn.Variable((batch, *case.images.shape[1:]))
    with building(case.scope):
        return {"images": images}, {"features": case.config.build(images, EMBED)}


def far(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], limit: float) -> dict:
    """What differs by more than `limit`, relative to the norm of the whole."""
    assert found.keys() == expected.keys()
    off = {
        k: float(np.linalg.norm(found[k] - expected[k]) / np.linalg.norm(expected[k]))
        for k in expected
    }
    return {k: d for k, d in off.items() if not d <= limit}


@pytest.mark.parametrize("make", [StockStep, compile_step], ids=["nnabla", "compiled"])
def test_features_and_gradients_equal_those_of_torch(case, make):
    import torch

    seeds = np.random.default_rng(1).normal(size=(3, EMBED)).astype(np.float32)
    inputs, outputs = graph(case, 3)
    loss = F.sum(outputs["features"] * nn.Variable.from_numpy_array(seeds))
    parameters = flatten(case.scope)
    for variable in parameters.values():
        variable.grad.zero()
    step = make(inputs, {"loss": loss, **outputs}, parameters)
    assert make is StockStep or isinstance(step, CompiledStep)
    found = step(images=case.images)
    case.model.zero_grad()
    features = case.model(torch.from_numpy(case.images))
    (features * torch.from_numpy(seeds)).sum().backward()
    gradients = {k: torch.zeros_like(t) for k, t in case.model.state_dict().items()}
    gradients |= {k: p.grad for k, p in case.model.named_parameters()}
    expected = case.published(gradients, untouched=True)
    own = {k: np.array(parameters[k].g) for k in expected}
    assert len(own) >= min(len(parameters), 20)
    assert not far({"f": found["features"]}, {"f": features.detach().numpy()}, VALUES)
    assert not far(own, expected, GRADIENTS)


@pytest.mark.parametrize(
    ("module", "config", "name"),
    [
        (
            "timm_convnext",
            ConvNextConfig(Preprocess(320), (3, 3, 27, 3), (192, 384, 768, 1536), "mlp"),
            "convnext_large",
        ),
        ("timm_convnext", ConvNextConfig(Preprocess(), (3, 3, 9, 3), (96, 192, 384, 768)), None),
    ],
)
def test_only_what_timm_has_is_written(module, config, name):
    import importlib

    told = importlib.import_module(f"nnclip.convert.{module}").settings_of(config)
    assert (told and told["timm_model_name"]) == name
