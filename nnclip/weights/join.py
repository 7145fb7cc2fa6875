"""A whole model from the image side of one file and the text side of another."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nnclip.errors import CheckpointError
from nnclip.graph.config import ClipConfig
from nnclip.graph.heads import HeadConfig
from nnclip.graph.parameters import flatten, make_head_parameters, scope_of
from nnclip.nnabla import nn
from nnclip.weights.h5 import open_h5, values_of
from nnclip.weights.heads import SCOPES, HeadWeights, head_on_side
from nnclip.weights.model import ModelWeights
from nnclip.weights.tower import TowerWeights, load_tower

LOGIT_SCALE = math.log(1 / 0.07)  # where nothing says otherwise


@dataclass(frozen=True)
class Sides:
    """What a model is joined of.

    Attributes:
        image: the image tower.
        text: the text tower.
        heads: `image` and `text`, for each side that has one.
        logit_scale: the logarithm of the scale.
    """

    image: TowerWeights
    text: TowerWeights
    heads: Mapping[str, HeadWeights]
    logit_scale: float = LOGIT_SCALE


def load_sides(image: Path, text: Path) -> Sides:
    """The image side of one file and the text side of another.

    Args:
        image: a whole model, or an image tower alone.
        text: a whole model, or a text tower alone.

    Returns: both towers; the heads that the files have on them; the scale of the text's file, else
        of the image's, else 1 / 0.07.

    Raises:
        CheckpointError: a file is damaged or lacks its side.
    """
    found = {"image": head_on_side(image, "image"), "text": head_on_side(text, "text")}
    return Sides(
        load_tower(image, "image"),
        load_tower(text, "text"),
        {side: head for side, head in found.items() if head is not None},
        next((s for s in map(_scale_of, (text, image)) if s is not None), LOGIT_SCALE),
    )


def _scale_of(path: Path) -> float | None:
    """The logarithm of the scale in a file; None where there is none."""
    with open_h5(path) as (datasets, _):
        return (
            float(values_of(datasets["logit_scale"]).item()) if "logit_scale" in datasets else None
        )


def join(sides: Sides) -> ModelWeights:
    """Two towers, with their heads, as one model with the text tower's tokenizer.

    Raises:
        CheckpointError: a head does not fit its tower, or the sides end in different widths.
    """
    heads = sides.heads
    towers = {"image": sides.image, "text": sides.text}
    for side, head in heads.items():
        if head.config.width_in != towers[side].width:
            raise CheckpointError(
                f"the {side} head takes features of width {head.config.width_in}, but the {side} "
                f"tower gives {towers[side].width}"
            )
    widths = {
        side: heads[side].config.width_out if side in heads else tower.width
        for side, tower in towers.items()
    }
    if widths["image"] != widths["text"]:
        raise CheckpointError(
            f"found features of width {widths['image']} for pictures and {widths['text']} for "
            "texts, expected one width for both: put heads on both sides (--heads residual)"
        )
    scale = nn.Variable((), need_grad=True)
    scale.d = sides.logit_scale
    variables = {**sides.image.variables(), **sides.text.variables(), "logit_scale": scale}
    for head in heads.values():
        for name, array in head.arrays.items():
            variables[name] = nn.Variable.from_numpy_array(array, need_grad=True)
    config = ClipConfig(
        widths["image"],
        sides.image.config,  # type: ignore[arg-type]
        sides.text.config,  # type: ignore[arg-type]
        *(heads[side].config if side in heads else None for side in ("image", "text")),
    )
    told = {k: v for k, v in sides.text.metadata.items() if k == "tokenizer"}
    return ModelWeights(config, scope_of(variables), told)


def new_head(side: str, config: HeadConfig, seed: int) -> HeadWeights:
    """A head with its initial values; the two sides' differ."""
    scope = make_head_parameters(config, SCOPES[side], seed + list(SCOPES).index(side))
    arrays = {name: variable.d.copy() for name, variable in flatten(scope).items()}
    return HeadWeights(side, config, arrays)
