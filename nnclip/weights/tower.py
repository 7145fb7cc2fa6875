"""One tower alone as an .h5: an encoder that somebody trained for something else.

Such a file says `tower` in its metadata, "image" or "text", and holds that side's tensors under the
names that they have in a whole model. `nnclip join` makes a model of two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnclip.errors import CheckpointError
from nnclip.graph.heads import IMAGE_HEAD, TEXT_HEAD
from nnclip.graph.losses import scalar_names
from nnclip.graph.parameters import Scope, expected_tower_shapes, flatten, scope_of
from nnclip.graph.reading import Reader
from nnclip.graph.towers import Tower, read_tower
from nnclip.image.preprocess import PREPROCESS_KEYS
from nnclip.nnabla import nn
from nnclip.weights.model import (
    check_names_and_shapes,
    opened,
    read_variables,
    write_variables,
)

SIDES = ("image", "text")


@dataclass(frozen=True)
class TowerWeights:
    """One tower.

    Attributes:
        config: what the tower is.
        width: of its features.
        scope: its parameters.
        metadata: what its file said, a text tower's tokenizer among it.
    """

    config: Tower
    width: int
    scope: Scope
    metadata: dict[str, Any]

    @property
    def side(self) -> str:
        """ "image" or "text"."""
        return self.config.side

    def variables(self) -> dict[str, nn.Variable]:
        """Published name -> Variable, the very ones that a graph uses."""
        return flatten(self.scope)


def load_tower(path: str | Path, side: str | None = None) -> TowerWeights:
    """Read a tower from its own file, or from that of a whole model.

    Args:
        path: the file.
        side: "image" or "text"; None for the only one that the file has. Of a whole model, the
            tower is read without the head that may stand on it.

    Raises:
        CheckpointError: the file is damaged or foreign, has not that side, or a tensor is missing,
            left over or has the wrong shape.
    """
    with opened(path) as (datasets, shapes, metadata):
        found = metadata.get("tower")
        if found not in (None, *SIDES):
            raise CheckpointError(f"metadata tower: found {found!r}, expected image or text")
        side = side or found
        if side is None:
            raise CheckpointError(
                "found a whole model, expected one tower alone; say whether to read its image or "
                "its text tower"
            )
        if found not in (None, side):
            raise CheckpointError(
                f"found the {found} tower alone, expected a file that has the {side} tower"
            )
        own = {k: d for k, d in datasets.items() if found or side_of(k) == side}
        own_shapes = {k: shapes[k] for k in own}
        config, width = read_tower(side, Reader(own_shapes, metadata))
        check_names_and_shapes(own_shapes, expected_tower_shapes(config, width))
        variables = read_variables(own, shapes, metadata)
    return TowerWeights(config, width, scope_of(variables), metadata)


def side_of(name: str) -> str | None:
    """The side of a published name: image, text, or None for heads and the loss's scalars."""
    first = name.split("/")[0]
    if first in (IMAGE_HEAD, TEXT_HEAD) or first in scalar_names():
        return None
    return "image" if first == "visual" else "text"


def whole_side_of(name: str) -> str | None:
    """As `side_of`, but a head belongs to the side that it stands on; None for scalars alone."""
    return {IMAGE_HEAD: "image", TEXT_HEAD: "text"}.get(name.split("/")[0]) or side_of(name)


def tower_metadata(tower: Tower) -> dict[str, Any]:
    """What the file of a tower must say beside its tensors."""
    return {"tower": tower.side, **tower.metadata()}


def save_tower(
    path: str | Path,
    tower: TowerWeights,
    *,
    half: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a tower so that `load_tower`, and NNabla itself, read it.

    Args:
        path: where to; written whole or not at all.
        tower: what to write.
        half: store float16.
        extra: metadata to add to the tower's own.
    """
    kept = {k: v for k, v in tower.metadata.items() if k not in PREPROCESS_KEYS}
    metadata = {**kept, **tower_metadata(tower.config), **(extra or {})}
    write_variables(path, tower.variables(), metadata, half)
