"""Losses: what training minimises, and how a loaded model turns cosines into probabilities.

They stand on the floor of the graph, below weights, because a model file holds the scalars of its
loss, and search, evaluation, export and the page answer by them without a trainer. A new loss is
one file here and one row of `LOSSES`.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from nnclip.errors import CheckpointError
from nnclip.graph.layers import parameter
from nnclip.graph.losses.base import Loss, Scorer
from nnclip.graph.losses.sigmoid import SIGMOID
from nnclip.graph.losses.softmax import SOFTMAX
from nnclip.nnabla import ConstantInitializer, nn

__all__ = [
    "FRESH",
    "LOSSES",
    "SIGMOID",
    "SOFTMAX",
    "USUAL",
    "Loss",
    "Scorer",
    "loss_in",
    "scalar_names",
    "scalar_parameters",
    "scorer_in",
]

LOSSES: dict[str, Loss] = {loss.name: loss for loss in (SOFTMAX, SIGMOID)}
USUAL = Scorer(SOFTMAX, {"logit_scale": math.log(100.0)})  # of published models
FRESH = Scorer(SOFTMAX, SOFTMAX.scalars)  # of a model that is not yet trained


def scalar_names() -> set[str]:
    """The names of the scalars of all losses."""
    return {name for loss in LOSSES.values() for name in loss.scalars}


def scalar_parameters(loss: Loss) -> dict[str, nn.Variable]:
    """The scalars of a loss in NNabla's current scope, made where the scope lacks them."""
    return {
        name: parameter(name, (), ConstantInitializer(begin))
        for name, begin in loss.scalars.items()
    }


def scorer_in(metadata: Mapping[str, Any], scalars: Mapping[str, float]) -> Scorer | None:
    """The loss of a file with its scalars' values; None where the file has no scalars.

    Args:
        metadata: of the file.
        scalars: those that the file has, by name.

    Raises:
        CheckpointError: there is no such loss, or it has scalars that the file lacks.
    """
    if not scalars:
        return None
    loss = loss_in(metadata, scalars)
    missing = loss.scalars.keys() - scalars.keys()
    if missing:
        raise CheckpointError(
            f"found no {', '.join(sorted(missing))}, expected it with the {loss.name} loss"
        )
    return Scorer(loss, {name: float(scalars[name]) for name in loss.scalars})


def loss_in(metadata: Mapping[str, Any], names: Iterable[str]) -> Loss:
    """The loss of a model file.

    Args:
        metadata: of the file; `loss` names the loss.
        names: of the file's tensors. A file that names no loss has the loss whose scalars it has.

    Raises:
        CheckpointError: there is no loss of that name.
    """
    said = metadata.get("loss")
    if said is None:
        found = scalar_names() & set(names)
        fitting = [loss for loss in LOSSES.values() if loss.scalars.keys() <= found]
        return max(fitting, key=lambda loss: len(loss.scalars), default=SOFTMAX)
    if said not in LOSSES:
        raise CheckpointError(
            f"metadata loss: found {said!r}, expected {', '.join(LOSSES)}; a newer nnclip may "
            "have written this file"
        )
    return LOSSES[said]
