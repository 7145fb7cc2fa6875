"""Adapters of a model (see `graph.lora`): put on, merged into its matrices, kept in a file.

Axes: O output width, D width, r rank, G stacked matrices.
"""

import fnmatch
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnclip.errors import CheckpointError, ConfigError
from nnclip.graph.beside import empty_inputs
from nnclip.graph.config import ClipConfig
from nnclip.graph.convolution import is_statistic
from nnclip.graph.features import image_features, text_features
from nnclip.graph.lora import SCALE, A, B, adapters_of, is_adapter
from nnclip.graph.parameters import Scope, building, scope_of
from nnclip.nnabla import nn
from nnclip.weights.digest import parameter_digest
from nnclip.weights.h5 import read_h5, write_h5
from nnclip.weights.model import ModelWeights

STACKED = "in_proj_W"  # queries', keys' and values' matrices
TARGETS = {
    "attention": ("*/attn/in_proj_W", "*/attn/out_proj/W"),
    "mlp": ("*/mlp/c_fc/W", "*/mlp/c_proj/W", "*/mlp/c_gate/W"),
}


@dataclass(frozen=True)
class Rank:
    """How large adapters are, and what they are multiplied by: alpha / rank."""

    rank: int
    alpha: float

    @staticmethod
    def parse(text: str) -> "Rank":
        """What `RANK[:ALPHA]` says; alpha is the rank by default.

        Raises:
            ConfigError: it is none.
        """
        rank, _, alpha = text.partition(":")
        try:
            found = Rank(int(rank), float(alpha or rank))
        except ValueError:
            found = Rank(0, 0.0)
        if found.rank < 1 or not 0 < found.alpha < math.inf:
            raise ConfigError(f"--lora: found {text!r}, expected RANK[:ALPHA], such as 8 or 8:16")
        return found


def with_adapters(model: ModelWeights, rank: Rank, targets: str, seed: int) -> ModelWeights:
    """The model with adapters that change nothing yet, and of which alone the parts are trained.

    Args:
        model: the model; its Variables are used on.
        rank: of the adapters.
        targets: comma-separated: `attention`, `mlp`, or names of matrices with `*`.
        seed: of A, which is drawn as torch draws a linear layer; B is zero.

    Raises:
        ConfigError: a target fits no matrix that can be adapted.
    """
    variables = model.variables()
    for variable in variables.values():
        variable.need_grad = False
    rng = np.random.default_rng([seed, rank.rank])
    for name in _matrices(variables, targets):
        groups = 3 if name.endswith(STACKED) else 1
        out, width = variables[name].shape
        stack = (groups,) if groups > 1 else ()
        a = rng.uniform(-1, 1, (*stack, rank.rank, width)) / math.sqrt(width)
        variables |= {
            name + A: nn.Variable.from_numpy_array(a.astype(np.float32), need_grad=True),
            name + B: nn.Variable((*stack, out // groups, rank.rank), need_grad=True),
            name + SCALE: nn.Variable((), need_grad=False),
        }
        variables[name + B].d = 0
        variables[name + SCALE].d = rank.alpha / rank.rank
    adapted = ModelWeights(model.config, scope_of(variables), model.metadata)
    if unused := _unused(adapted.config, adapted.scope, variables):
        raise ConfigError(
            f"--lora-target: {unused[0]} is no matrix of an affine layer that can be adapted; "
            "expected attention, mlp or names such as visual/*/mlp/c_fc/W"
        )
    return adapted


def _matrices(variables: Mapping[str, nn.Variable], targets: str) -> list[str]:
    """The names of the matrices that the targets name."""
    found: dict[str, None] = {}
    for target in filter(None, (part.strip() for part in targets.split(","))):
        patterns = TARGETS.get(target, (target,))
        names = [n for p in patterns for n in fnmatch.filter(variables, p)]
        names = [n for n in names if variables[n].ndim == 2]
        if not names:
            raise ConfigError(
                f"--lora-target: {target!r} fits no matrix; expected attention, mlp or names such "
                "as visual/*/mlp/c_fc/W"
            )
        found |= dict.fromkeys(names)
    if not found:
        raise ConfigError("--lora-target: found nothing, expected attention, mlp or names")
    return list(found)


def _unused(config: ClipConfig, scope: Scope, variables: Mapping[str, nn.Variable]) -> list[str]:
    """The matrices whose adapters no layer of the model reads."""
    seen: set[nn.Variable] = set()
    with building(scope):
        size = config.image.resolution
        for features in (
            image_features(nn.Variable((1, 3, size, size)), config),
            text_features(empty_inputs(config.text, 1), config),
        ):
            features.visit(lambda function: seen.update(function.inputs))
    return [name for name in adapters_of(variables) if variables[name + B] not in seen]


def merged(model: ModelWeights) -> ModelWeights:
    """The model with its adapters added to its matrices; all may be trained on."""
    variables = model.variables()
    arrays = {name: np.array(v.d) for name, v in variables.items()}
    for name in adapters_of(variables):
        _add(arrays, name, arrays)
    plain = {
        name: nn.Variable.from_numpy_array(array, need_grad=not is_statistic(name))
        for name, array in arrays.items()
        if not is_adapter(name)
    }
    return ModelWeights(model.config, scope_of(plain), model.metadata)


def _add(arrays: dict[str, np.ndarray], name: str, adapters: Mapping[str, np.ndarray]) -> None:
    """Add the adapter of one matrix to it."""
    a, b, scale = (adapters[name + end] for end in (A, B, SCALE))
    arrays[name] = arrays[name] + (scale * (b @ a)).reshape(arrays[name].shape)


def base_digest(model: ModelWeights) -> str:
    """Tells the model that adapters were put on from others; whatever adapters there are."""
    plain = {name: v for name, v in model.variables().items() if not is_adapter(name)}
    return parameter_digest(ModelWeights(model.config, scope_of(plain), {}))


def save_adapters(path: Path, model: ModelWeights, base: str) -> None:
    """Write a model's adapters without the model.

    Args:
        path: where to.
        model: has them.
        base: `base_digest` of the model.
    """
    arrays = {n: np.array(v.d) for n, v in model.variables().items() if is_adapter(n)}
    write_h5(path, arrays, {"lora_base": base})


def merge(model: ModelWeights, path: Path) -> ModelWeights:
    """The model with the adapters of a file added to its matrices.

    Raises:
        CheckpointError: the file is damaged or holds none, or they belong to another model.
    """
    found = read_h5(path)
    names = adapters_of(found.arrays)
    if not names:
        raise CheckpointError(f"{path}: found no adapters, expected those that --lora has trained")
    if found.metadata.get("lora_base") != base_digest(model):
        raise CheckpointError(
            f"{path}: found adapters of another model, expected the one that they were trained on "
            "(--model-load-path of that run)"
        )
    variables = model.variables()
    arrays = {name: np.array(variables[name].d) for name in names}
    for name in names:
        _add(arrays, name, found.arrays)
        variables[name].d = arrays[name]
    return model
