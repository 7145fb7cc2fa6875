"""Positions that an image tower learned for a square grid, and the same for another grid.

Axes: L rows of the table, D width.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class GridPositions:
    """Where a tower keeps its positions.

    Attributes:
        name: the published name of the table (L, D).
        before: rows before those of the grid, as of a class token.
    """

    name: str
    before: int

    def resized(self, table_LD: np.ndarray, side: int) -> np.ndarray:
        """The table for a grid of `side` rows, interpolated bicubically, float32."""
        grid_GD = table_LD[self.before :]
        old = round(len(grid_GD) ** 0.5)
        planes = [
            np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC))
            for plane in np.ascontiguousarray(grid_GD.T).reshape(-1, old, old)
        ]
        rows = np.stack(planes, axis=-1).reshape(side * side, -1)
        return np.concatenate([table_LD[: self.before], rows])
