"""A projection head in a file of its own, which fits every tower of the same width."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnclip.errors import CheckpointError
from nnclip.graph.heads import IMAGE_HEAD, TEXT_HEAD, HeadConfig, head_from_shapes, head_metadata
from nnclip.graph.losses import Scorer, scalar_names, scorer_in
from nnclip.graph.parameters import expected_head_shapes
from nnclip.weights.h5 import open_h5, read_h5, values_of, write_h5
from nnclip.weights.model import ModelWeights, check_names_and_shapes

SCOPES = {"image": IMAGE_HEAD, "text": TEXT_HEAD}  # side -> scope


@dataclass(frozen=True)
class HeadWeights:
    """A head.

    Attributes:
        side: `image` or `text`.
        config: the head.
        arrays: its parameters by their names in a model.
        scorer: the loss that it was trained with, and its scalars; None where it was not.
    """

    side: str
    config: HeadConfig
    arrays: dict[str, np.ndarray]
    scorer: Scorer | None = None


def save_head(path: str | Path, head: HeadWeights) -> None:
    """Write a head; CheckpointError if that fails."""
    metadata = {"head": head.side, **head_metadata(head.config, SCOPES[head.side])}
    if head.scorer is not None:
        metadata |= head.scorer.metadata()
    write_h5(path, head.arrays, metadata)


def load_head(path: str | Path) -> HeadWeights:
    """Read a head.

    Raises:
        CheckpointError: the file holds something else, or not all of a head.
    """
    found = read_h5(path)
    side = found.metadata.get("head")
    if side not in SCOPES:
        raise CheckpointError(
            f"{path}: found {side!r} as its kind of head, expected a file of one head as "
            "train-heads writes it (image_head or text_head)"
        )
    shapes = {name: array.shape for name, array in found.arrays.items()}
    try:
        config = head_from_shapes(shapes, found.metadata, SCOPES[side])
        if config is None:
            raise CheckpointError(f"tensor {SCOPES[side]}/proj/W: missing")
        check_names_and_shapes(shapes, expected_head_shapes(config, SCOPES[side]))
        told = {k: v for k, v in found.metadata.items() if k in scalar_names()}
        scorer = scorer_in(found.metadata, told)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return HeadWeights(side, config, found.arrays, scorer)


def head_on_side(path: str | Path, side: str) -> HeadWeights | None:
    """The head on one side of a whole model; None where that side, or the file, has none."""
    with open_h5(path) as (datasets, metadata):
        own = {k: d for k, d in datasets.items() if k.startswith(SCOPES[side] + "/")}
        config = head_from_shapes({k: d.shape for k, d in own.items()}, metadata, SCOPES[side])
        arrays = {k: np.array(values_of(d), np.float32) for k, d in own.items()}
    return None if config is None else HeadWeights(side, config, arrays)


def without_heads(weights: ModelWeights, side: str) -> ModelWeights:
    """The same parameters as a model that gives what one side's tower gives, before any head."""
    config = weights.config
    width = config.image_width if side == "image" else config.text_width
    bare = dataclasses.replace(config, embed=width, image_head=None, text_head=None)
    return dataclasses.replace(weights, config=bare)
