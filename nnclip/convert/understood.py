"""What the published names and shapes of a checkpoint make: a whole model, or one tower."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnclip.graph.config import ClipConfig, config_from_shapes, metadata_of
from nnclip.graph.losses import LOSSES, Loss
from nnclip.graph.parameters import expected_shapes, expected_tower_shapes
from nnclip.graph.reading import Reader, Shapes
from nnclip.graph.towers import Tower, read_tower
from nnclip.weights.tower import tower_metadata


@dataclass(frozen=True)
class Understood:
    """What a checkpoint is.

    Attributes:
        config: the model, or the tower that the checkpoint holds alone.
        towers: both towers of the model, or the one.
        shapes: published name -> shape of every tensor that it must have, in the order of their
            making.
        metadata: what an .h5 says beside the tensors.
        loss: by which the model answers; None of a tower.
    """

    config: ClipConfig | Tower
    towers: tuple[Tower, ...]
    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, Any]
    loss: Loss | None = None


def understood(side: str | None, found: Shapes, metadata: Mapping[str, Any]) -> Understood:
    """The model, or the tower of that side, whose tensors have these shapes.

    Args:
        side: "image" or "text" for a tower alone; None for a whole model.
        found: published name -> shape.
        metadata: what shapes do not tell.

    Raises:
        CheckpointError: it is none that nnclip knows.
    """
    if side is None:
        whole = config_from_shapes(found, metadata)
        towers = (whole.image, whole.text)
        shapes, loss = expected_shapes(whole), LOSSES[whole.loss]
        return Understood(whole, towers, shapes, metadata_of(whole), loss)
    tower, width = read_tower(side, Reader(found, metadata))
    return Understood(tower, (tower,), expected_tower_shapes(tower, width), tower_metadata(tower))
