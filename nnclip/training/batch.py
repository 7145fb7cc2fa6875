"""What a step reads.

Axes: N batch, L tokens, R resolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from nnclip.graph.beside import text_inputs
from nnclip.graph.towers import TextTower


class AnyBatch(Protocol):
    """Pairs as a step reads them."""

    def __len__(self) -> int: ...

    def pieces(self, rows: int) -> Sequence["AnyBatch"]:
        """Consecutive pieces of `rows` pairs; 0 for all in one."""
        ...

    def inputs(self, text: TextTower) -> dict[str, np.ndarray]:
        """The arrays by the names of the inputs of a graph with this text tower."""
        ...


@dataclass(frozen=True)
class Batch:
    """What the towers read.

    Attributes:
        images: (N, 3, R, R) float32, normalised.
        ids: (N, L) int32.
        teacher: side -> a teacher's embeddings (N, E); none without one.
    """

    images: np.ndarray
    ids: np.ndarray
    teacher: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def pieces(self, rows: int) -> list["Batch"]:
        """Consecutive pieces of `rows` pairs; 0 for all in one."""
        rows = rows or len(self)
        return [
            Batch(self.images[at : at + rows], self.ids[at : at + rows])
            for at in range(0, len(self), rows)
        ]

    def inputs(self, text: TextTower) -> dict[str, np.ndarray]:
        """The arrays by the names of the inputs of a graph with this text tower."""
        return {"images": self.images, **text_inputs(self.ids, text)}
