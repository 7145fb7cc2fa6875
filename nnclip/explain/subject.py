"""What is explained: a model's weights, compiled for each method and resolution when first asked.

Axes: R resolution, E embedding.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from nnclip.engine import CompiledGraph, EmittedGraph, compile_emitted
from nnclip.engine.precision import require_openvino
from nnclip.errors import ConfigError
from nnclip.graph.parameters import flatten, scope_of
from nnclip.graph.towers import AnImageTower, at_resolution
from nnclip.nnabla import nn
from nnclip.weights.model import ModelWeights

LEAST_PLACES = 4  # along a side of a map, unless a resolution is asked for
KEPT = 4  # graphs; each holds the tower's weights once more


@dataclass(eq=False)
class Subject:
    """A model that methods ask.

    Attributes:
        weights: the model.
        precision: "fp32" or "bf16".
    """

    weights: ModelWeights
    precision: str
    _graphs: "OrderedDict[tuple[str, int], CompiledGraph]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def graph(
        self, name: str, emit: Callable[[ModelWeights], EmittedGraph], resolution: int
    ) -> CompiledGraph:
        """A method's graph for images of a resolution.

        Raises:
            ConfigError: the tower cannot have that resolution, or there is no OpenVINO.
        """
        key = name, resolution
        require_openvino()
        with self._lock:
            if key not in self._graphs:
                emitted = emit(at(self.weights, resolution))
                self._graphs[key] = compile_emitted(emitted, precision=self.precision)
                if len(self._graphs) > KEPT:
                    self._graphs.popitem(last=False)
            self._graphs.move_to_end(key)
            return self._graphs[key]

    def prepared(self, image: Image.Image, resolution: int) -> np.ndarray:
        """(1, 3, R, R) float32 of an image, cut as the model's own `preprocess` cuts it."""
        preprocess = self.weights.config.image.preprocess
        if resolution != preprocess.resolution:
            preprocess = preprocess.at(resolution)
        return preprocess(image)[None]


def check_one_grid(subject: Subject) -> None:
    """ConfigError if images of the model keep their shape, so that no square map fits them."""
    tower = subject.weights.config.image
    if tower.preprocess.resize == "patches":
        raise ConfigError(
            f"found a {tower.kind}, expected one whose images all have one grid: maps need it; "
            "explain with a model of one resolution"
        )


def usual_resolution(tower: AnImageTower) -> int:
    """The resolution that maps are made at: the tower's own, or what gives LEAST_PLACES."""
    return max(tower.resolution, LEAST_PLACES * tower.stride)


@dataclass(frozen=True)
class _Resized(ModelWeights):
    """A model that shares all Variables but one with another, whose file may hold their values."""

    whole: ModelWeights | None = None

    def unread(self) -> Mapping[nn.Variable, np.ndarray]:
        """See `ModelWeights`."""
        assert self.whole is not None
        return self.whole.unread()


def at(weights: ModelWeights, resolution: int) -> ModelWeights:
    """The model for images of another resolution: its positions are interpolated.

    Raises:
        ConfigError: its tower cannot have that resolution.
    """
    config = weights.config
    if resolution == config.image.resolution:
        return weights
    image = at_resolution(config.image, resolution)
    variables = flatten(weights.scope)
    if positions := config.image.positions:
        table = positions.resized(weights.array(positions.name), resolution // image.stride)
        variables[positions.name] = nn.Variable.from_numpy_array(table, need_grad=True)
    config = replace(config, image=image)
    return _Resized(config, scope_of(variables), weights.metadata, whole=weights)
