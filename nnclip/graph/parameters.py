"""The parameters of a model: an NNabla scope (a nested dictionary) and its published names."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from nnclip.forks import NNABLA_LOCK
from nnclip.graph.beside import empty_inputs
from nnclip.graph.config import ClipConfig
from nnclip.graph.features import image_features, text_features
from nnclip.graph.heads import HeadConfig, head
from nnclip.graph.layers import names_and_shapes_only
from nnclip.graph.losses import LOSSES, scalar_parameters
from nnclip.graph.towers import Tower
from nnclip.nnabla import nn

Scope = dict[str, Any]  # name -> Variable or Scope, as nn.parameter_scope takes it


@contextmanager
def building(scope: Scope) -> Iterator[None]:
    """Inside, functions read `scope` and nothing runs, whatever mode the caller is in.

    One thread at a time: NNabla's scope and mode are global.
    """
    with NNABLA_LOCK, nn.parameter_scope("", scope=scope), nn.auto_forward(False):
        yield


def make_parameters(config: ClipConfig, seed: int = 412) -> Scope:
    """Freshly initialised parameters, as OpenAI's code does it; the same for the same seed."""
    return _drawn(lambda: _whole(config), seed)


def make_tower_parameters(tower: Tower, width: int, seed: int = 412) -> Scope:
    """Freshly initialised parameters of one tower whose features are `width` wide."""
    return _drawn(lambda: _tower(tower, width), seed)


def expected_shapes(config: ClipConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter of `config`, found by building its graph."""
    return _shapes(lambda: _whole(config))


def expected_tower_shapes(tower: Tower, width: int) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter of one tower whose features are `width` wide."""
    return _shapes(lambda: _tower(tower, width))


def make_head_parameters(config: HeadConfig, scope: str, seed: int = 412) -> Scope:
    """Freshly initialised parameters of a head below `scope`, as torch does it."""
    return _drawn(lambda: _head(config, scope), seed)


def expected_head_shapes(config: HeadConfig, scope: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter of a head below `scope`."""
    return _shapes(lambda: _head(config, scope))


def _whole(config: ClipConfig) -> None:
    size = config.image.resolution
    image_features(nn.Variable((1, 3, size, size)), config)
    text_features(empty_inputs(config.text, 1), config)
    scalar_parameters(LOSSES[config.loss])


def _tower(tower: Tower, width: int) -> None:
    if tower.side == "text":
        tower.build(empty_inputs(tower, 1), width)
    else:
        tower.build(nn.Variable((1, 3, tower.resolution, tower.resolution)), width)


def _head(config: HeadConfig, scope: str) -> None:
    head(nn.Variable((1, config.width_in)), config, scope)


def _drawn(build: Callable[[], None], seed: int) -> Scope:
    with NNABLA_LOCK:
        before = nn.random.prng
        nn.random.prng = np.random.RandomState(seed)
        try:
            return _trace(build)
        finally:
            nn.random.prng = before


def _shapes(build: Callable[[], None]) -> dict[str, tuple[int, ...]]:
    with NNABLA_LOCK, names_and_shapes_only():
        return {name: v.shape for name, v in flatten(_trace(build)).items()}


def _trace(build: Callable[[], None]) -> Scope:
    scope: Scope = OrderedDict()
    with building(scope):
        build()
    return scope


def flatten(scope: Scope) -> dict[str, nn.Variable]:
    """A scope's Variables by their full names, in the order of their making."""
    found: dict[str, nn.Variable] = {}
    for name, value in scope.items():
        if isinstance(value, dict):
            found |= {f"{name}/{below}": v for below, v in flatten(value).items()}
        else:
            found[name] = value
    return found


def scope_of(variables: Mapping[str, nn.Variable]) -> Scope:
    """The scope that holds these Variables under these full names."""
    scope: Scope = OrderedDict()
    for name, variable in variables.items():
        *folders, last = name.split("/")
        place = scope
        for folder in folders:
            place = place.setdefault(folder, OrderedDict())
        place[last] = variable
    return scope
