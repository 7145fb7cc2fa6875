"""The parameters of a model: an NNabla scope (a nested dictionary) and its published names."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import nnabla as nn
import numpy as np

from nnclip.graph.config import ClipConfig
from nnclip.graph.features import image_features, text_features
from nnclip.graph.layers import names_and_shapes_only
from nnclip.graph.loss import logit_scale

Scope = dict[str, Any]  # name -> Variable or Scope, as nn.parameter_scope takes it


@contextmanager
def building(scope: Scope) -> Iterator[None]:
    """Inside, functions read `scope` and nothing runs, whatever mode the caller is in."""
    with nn.parameter_scope("", scope=scope), nn.auto_forward(False):
        yield


def make_parameters(config: ClipConfig, seed: int = 412) -> Scope:
    """Freshly initialised parameters, as OpenAI's code does it; the same for the same seed."""
    before = nn.random.prng
    nn.random.prng = np.random.RandomState(seed)
    try:
        return _trace(config)
    finally:
        nn.random.prng = before


def expected_shapes(config: ClipConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter of `config`, found by building its graph."""
    with names_and_shapes_only():
        return {name: v.shape for name, v in flatten(_trace(config)).items()}


def _trace(config: ClipConfig) -> Scope:
    scope: Scope = OrderedDict()
    size = config.image.resolution
    with building(scope):
        image_features(nn.Variable((1, 3, size, size)), config)
        text_features(nn.Variable((1, 1)), nn.Variable((1, 1)), config)
        logit_scale()
    return scope


def flatten(scope: Scope) -> dict[str, nn.Variable]:
    """A scope's Variables by their full names, in the order of their making."""
    with nn.parameter_scope("", scope=scope):
        return dict(nn.get_parameters(grad_only=False))


def scope_of(variables: Mapping[str, nn.Variable]) -> Scope:
    """The scope that holds these Variables under these full names."""
    scope: Scope = OrderedDict()
    with nn.parameter_scope("", scope=scope):
        for name, variable in variables.items():
            nn.parameter.set_parameter(name, variable)
    return scope
