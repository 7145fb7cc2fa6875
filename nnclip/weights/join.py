"""A whole model from the image side of one file and the text side of another."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnclip.errors import CheckpointError
from nnclip.graph.config import ClipConfig
from nnclip.graph.heads import HeadConfig
from nnclip.graph.losses import FRESH, Scorer, scalar_names, scorer_in
from nnclip.graph.parameters import flatten, make_head_parameters, scope_of
from nnclip.nnabla import nn
from nnclip.weights.h5 import values_of
from nnclip.weights.heads import SCOPES, HeadWeights, head_on_side
from nnclip.weights.model import ModelWeights, opened, told_scalars
from nnclip.weights.tower import TowerWeights, load_tower


@dataclass(frozen=True)
class Sides:
    """What a model is joined of.

    Attributes:
        image: the image tower.
        text: the text tower.
        heads: `image` and `text`, for each side that has one.
        scorer: the loss, and its scalars.
    """

    image: TowerWeights
    text: TowerWeights
    heads: Mapping[str, HeadWeights]
    scorer: Scorer = FRESH


def load_sides(image: Path, text: Path) -> Sides:
    """The image side of one file and the text side of another.

    Args:
        image: a whole model, or an image tower alone.
        text: a whole model, or a text tower alone.

    Returns: both towers; the heads that the files have on them; the loss and the scalars of the
        text's file, else of the image's, else of a model that is not yet trained.

    Raises:
        CheckpointError: a file is damaged or lacks its side.
    """
    found = {"image": head_on_side(image, "image"), "text": head_on_side(text, "text")}
    return Sides(
        load_tower(image, "image"),
        load_tower(text, "text"),
        {side: head for side, head in found.items() if head is not None},
        scorer_of(text) or scorer_of(image) or FRESH,
    )


def scorer_of(path: Path) -> Scorer | None:
    """The loss of a file and its scalars; None of a tower alone, which has none."""
    with opened(path) as (datasets, _, metadata):
        scalars = {n: values_of(d) for n, d in datasets.items() if n in scalar_names()}
        scalars |= told_scalars(metadata)
        return scorer_in(metadata, {name: value.item() for name, value in scalars.items()})


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
            f"found features of width {widths['image']} for images and {widths['text']} for "
            "texts, expected one width for both: put heads on both sides (--heads residual)"
        )
    variables = {**sides.image.variables(), **sides.text.variables()}
    for name, value in sides.scorer.scalars.items():
        scalar = np.array(value, np.float32)
        variables[name] = nn.Variable.from_numpy_array(scalar, need_grad=True)
    for head in heads.values():
        for name, array in head.arrays.items():
            variables[name] = nn.Variable.from_numpy_array(array, need_grad=True)
    config = ClipConfig(
        widths["image"],
        sides.image.config,  # type: ignore[arg-type]
        sides.text.config,  # type: ignore[arg-type]
        image_head=heads["image"].config if "image" in heads else None,
        text_head=heads["text"].config if "text" in heads else None,
        loss=sides.scorer.loss.name,
    )
    told = {k: v for k, v in sides.text.metadata.items() if k == "tokenizer"}
    return ModelWeights(config, scope_of(variables), told)


def new_head(side: str, config: HeadConfig, seed: int) -> HeadWeights:
    """A head with its initial values; the two sides' differ."""
    scope = make_head_parameters(config, SCOPES[side], seed + list(SCOPES).index(side))
    arrays = {name: variable.d.copy() for name, variable in flatten(scope).items()}
    return HeadWeights(side, config, arrays)
