"""From an .h5 to the parameters of a model and back; strict about names and shapes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nnabla as nn
import numpy as np

from nnclip.errors import CheckpointError
from nnclip.graph.config import ClipConfig, config_from_shapes, metadata_of
from nnclip.graph.parameters import Scope, expected_shapes, flatten, scope_of
from nnclip.weights.h5 import Weights, read_h5, write_h5

SHOWN = 5  # problems that one error message lists


@dataclass(frozen=True)
class ModelWeights:
    """A model's configuration, its parameters as NNabla Variables, and its file's metadata."""

    config: ClipConfig
    scope: Scope
    metadata: dict[str, Any]

    def variables(self) -> dict[str, nn.Variable]:
        """Published name -> Variable, the very ones that the graph uses."""
        return flatten(self.scope)


def load_model(path: str | Path) -> ModelWeights:
    """Read a model from Sony's published .h5 files or nnclip's own.

    Raises:
        CheckpointError: the file is damaged or foreign, or a tensor is missing, left over or has
            the wrong shape; names file, tensor, found and expected.
    """
    try:
        return model_from(read_h5(path))
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path}: {error}") from error


def model_from(weights: Weights) -> ModelWeights:
    """The model that named arrays are; CheckpointError if they do not fit together."""
    arrays = dict(weights.arrays)
    if arrays.get("logit_scale", np.empty(0)).shape == (1,):  # NNabla files may keep scalars so
        arrays["logit_scale"] = arrays["logit_scale"].reshape(())
    config = config_from_shapes({k: v.shape for k, v in arrays.items()}, weights.metadata)
    check_names_and_shapes({k: v.shape for k, v in arrays.items()}, expected_shapes(config))
    variables = {}
    for name in list(arrays):  # let go of each array as it is copied
        variables[name] = nn.Variable.from_numpy_array(arrays.pop(name), need_grad=True)
    return ModelWeights(config, scope_of(variables), weights.metadata)


def check_names_and_shapes(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """CheckpointError that names every tensor which is missing, left over or of the wrong shape."""
    problems = [
        f"tensor {k}: missing, expected shape {v}" for k, v in expected.items() if k not in found
    ]
    problems += [
        f"tensor {k}: found with shape {v}, expected no such tensor"
        for k, v in found.items()
        if k not in expected
    ]
    problems += [
        f"tensor {k}: found shape {found[k]}, expected {v}"
        for k, v in expected.items()
        if k in found and found[k] != v
    ]
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise CheckpointError("; ".join(problems[:SHOWN]) + more)


def save_model(
    path: str | Path,
    model: ModelWeights,
    *,
    half: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a model so that `load_model`, and NNabla itself, read it.

    Args:
        path: where to; written whole or not at all.
        model: what to write.
        half: store float16.
        extra: metadata to add to the model's own.
    """
    variables = model.variables()
    metadata = {**model.metadata, **metadata_of(model.config), **(extra or {})}
    frozen = frozenset(name for name, v in variables.items() if not v.need_grad)
    write_h5(path, {k: v.d for k, v in variables.items()}, metadata, half=half, frozen=frozen)
