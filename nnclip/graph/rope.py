"""Rotary positions of image patches: queries and keys are turned by where their patch lies.

Neighbouring channels of a head are a pair (a, b), which is turned by an angle: the first half of
the pairs by the one coordinate of the patch, the second half by the other.

Source: Su et al., RoFormer (2021); timm's `RotaryEmbeddingCat`, as EVA02 and Perception Encoder
have it.

Axes: N batch, H heads, M tokens that ask, L tokens, D width, K width of a head, C = K / 2 pairs.
"""

from dataclasses import dataclass

import numpy as np

from nnclip.nnabla import F, nn

TEMPERATURE = 10000.0
Turns = tuple[nn.Variable, nn.Variable]  # cosines and sines (1, L, C), the same for all blocks


@dataclass(frozen=True)
class Rope:
    """How coordinates become angles.

    Attributes:
        order: "yx" if the first half of the pairs turns by the row, "xy" if by the column.
        reference: patches along a side of the grid whose coordinates are whole numbers.
        offset: added to each number of a row or a column.
    """

    order: str
    reference: int
    offset: int

    def angles(self, grid: int, before: int, width: int) -> np.ndarray:
        """Angles (L, C), float64, in radians.

        Args:
            grid: patches along a side.
            before: tokens before the patches, which are not turned.
            width: of a head, a multiple of 4.
        """
        bands = TEMPERATURE ** -(np.arange(width // 4) / (width // 4))
        along = (np.arange(grid) + self.offset) / grid * self.reference
        y_GG, x_GG = np.meshgrid(along, along, indexing="ij")
        first, second = (y_GG, x_GG) if self.order == "yx" else (x_GG, y_GG)
        turned = [c.reshape(-1, 1) * bands for c in (first, second)]
        return np.pad(np.concatenate(turned, axis=1), ((before, 0), (0, 0)))

    def turns(self, grid: int, before: int, width: int) -> Turns:
        """Cosines and sines of `angles`, as constants of a graph."""
        angles_1LC = self.angles(grid, before, width)[None]
        cos_1LC, sin_1LC = (
            nn.Variable.from_numpy_array(of(angles_1LC).astype("f4")) for of in (np.cos, np.sin)
        )
        return cos_1LC, sin_1LC


def halves_first(x: nn.Variable, heads: int) -> nn.Variable:
    """Rows (D, ...) of a projection: of each head first the a of all pairs, then the b.

    Scores are the same in any order of channels that queries and keys share; in this one a pair's
    channels are found by two slices. The compiler orders the weights once.
    """
    width = x.shape[0]
    pairs = F.reshape(x, (heads, width // heads // 2, 2, -1))
    return F.reshape(F.transpose(pairs, (0, 2, 1, 3)), x.shape)


def turned(x_NHMK: nn.Variable, turns_1MC: Turns) -> nn.Variable:
    """Queries or keys, in the order of `halves_first`, turned by their tokens' angles."""
    half = x_NHMK.shape[3] // 2
    cos, sin = (F.reshape(t, (1, *t.shape)) for t in turns_1MC)
    a, b = x_NHMK[:, :, :, :half], x_NHMK[:, :, :, half:]
    return F.concatenate(a * cos - b * sin, b * cos + a * sin, axis=3)
