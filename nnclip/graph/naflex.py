"""SigLIP 2's image tower for images that keep their shape (NaFlex).

It takes the squares of `nnclip.image.packing` and finds the grid of each image in them, so that one
batch holds images of every shape. What depends on the grid is looked up and computed in the graph:
which cells are patches, and the learned positions, interpolated to the grid.

Axes: N batch, R resolution, C cells along a side, P pixels along a patch, K patches, B bits, G rows
and columns of the table of positions, D width, E embedding.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from nnclip.errors import CheckpointError
from nnclip.graph.layers import MASKED, layer_norm, linear, parameter
from nnclip.graph.pooling import attention_pool
from nnclip.graph.reading import Reader
from nnclip.graph.transformer import BlockConfig, BlockInit, every_row, transformer
from nnclip.image import Preprocess
from nnclip.image.packing import bits_of, packed_side
from nnclip.nnabla import F, NormalInitializer, nn

POSITIONS = "visual/positional_embedding"
PATCHES = "visual/patch_embedding"


@dataclass(frozen=True)
class NaflexConfig:
    """A vision transformer for grids of any shape, read by one query over all patches.

    Attributes:
        preprocess: how an image becomes its input; it packs patches.
        blocks: the transformer.
        grid: rows and columns of the table of positions.
    """

    preprocess: Preprocess
    blocks: BlockConfig
    grid: int

    side: ClassVar[Literal["image"]] = "image"
    whole_strides: ClassVar[bool] = True
    positions: ClassVar[None] = None  # they fit every grid

    @property
    def resolution(self) -> int:
        """Pixels along a side of the square of packed patches."""
        return self.preprocess.resolution

    @property
    def stride(self) -> int:
        """Pixels along a side of a patch."""
        return self.preprocess.patch

    @property
    def patches(self) -> int:
        """The most that an image has."""
        return self.preprocess.patches

    @property
    def kind(self) -> str:
        """See `ImageTower`."""
        return f"vision transformer for images of any shape with patches of {self.stride} pixels"

    @classmethod
    def read(cls, reader: Reader) -> "tuple[NaflexConfig, int] | None":
        """The tower of these tensors; None if patches are not embedded as rows."""
        if not reader.has(f"{PATCHES}/"):
            return None
        width, values = reader.shape(f"{PATCHES}/W", 2)
        rows = reader.shape(POSITIONS, 2)[0]
        grid, patch = math.isqrt(rows), math.isqrt(values // 3)
        if grid * grid != rows or 3 * patch * patch != values:
            raise CheckpointError(
                f"tensors {POSITIONS} and {PATCHES}/W: found {rows} positions and patches of "
                f"{values} values, expected a square, and three times a square"
            )
        preprocess = reader.preprocess(Preprocess.of_patches(max(patch, 4), rows), 1)
        if (preprocess.resize, preprocess.patch) != ("patches", patch):
            raise CheckpointError(
                f"metadata preprocess_resize {preprocess.resize}, preprocess_patch "
                f"{preprocess.patch}: expected patches of {patch} pixels, as {PATCHES}/W has them"
            )
        config = cls(preprocess, BlockConfig.read(reader, "visual/", "image"), grid)
        return config, width

    def metadata(self) -> dict[str, Any]:
        """See `ImageTower`."""
        return {
            "activation": self.blocks.activation,
            "image_heads": self.blocks.heads,
            "layer_norm_eps": self.blocks.eps,
            **self.preprocess.metadata(),
        }

    def describe(self) -> str:
        """The kind and the sizes."""
        return f"{self.kind}: {self.blocks.describe()}, at most {self.patches} patches"

    def build(
        self,
        images_N3RR: nn.Variable,
        width: int,
        hidden: list[nn.Variable] | None = None,
        trained_statistics: bool = False,
    ) -> nn.Variable:
        """See `ImageTower`; features are as wide as a token, and nothing is normalised by batch."""
        blocks = self.blocks
        with nn.parameter_scope("visual"):
            cells = _cells(images_N3RR, self)
            placed = _placed(images_N3RR, self)
            x_NKD = linear(cells[:, : self.patches, :], blocks.width, "patch_embedding")
            x_NKD = transformer(
                x_NKD + _positions(placed, self),
                blocks,
                init=BlockInit(),
                mask=placed.hidden_from,
                last_rows=every_row,
                last_mask=placed.hidden_from,
                hidden=hidden,
            )
            x_NKD = layer_norm(x_NKD, "ln_post", blocks.eps)
            x_N1D = attention_pool(
                x_NKD, blocks, blocks.heads, blocks.hidden, mask=placed.hidden_from
            )
            return F.reshape(x_N1D, (images_N3RR.shape[0], blocks.width))


class Placed(NamedTuple):
    """Where the patches of each image lie.

    Attributes:
        sides: rows and columns of its grid, each (N, 1, 1).
        places: the row and the column of each patch, each (N, K, 1).
        hidden_from: (N, 1, 1, K), 0 where a cell is a patch, MASKED where it is none.
    """

    sides: tuple[nn.Variable, nn.Variable]
    places: tuple[nn.Variable, nn.Variable]
    hidden_from: nn.Variable


def _cells(images_N3RR: nn.Variable, config: NaflexConfig) -> nn.Variable:
    """(N, C * C, P * P * 3): pixels in the order row, column, channel."""
    n, patch = images_N3RR.shape[0], config.stride
    side = config.resolution // patch
    x = F.reshape(images_N3RR, (n, 3, side, patch, side, patch))
    return F.reshape(F.transpose(x, (0, 2, 4, 3, 5, 1)), (n, side * side, 3 * patch * patch))


def _side(images_N3RR: nn.Variable, channel: int, config: NaflexConfig) -> nn.Variable:
    """(N, 1): what the bits in a channel of the last cell tell."""
    n, patch, bits = images_N3RR.shape[0], config.stride, bits_of(config.patches)
    first = (packed_side(config.patches) - 1) * patch
    told = F.reshape(images_N3RR[:, channel, first:, first:], (n, patch * patch))[:, :bits]
    # compared, they are exact in every precision
    ones_NB = F.greater_scalar(told, config.preprocess.halfway[channel])
    most = config.patches  # of noise, too, a grid is made that can be
    worth_1B = nn.Variable.from_numpy_array((2.0 ** np.arange(bits)).astype("f4")[None])
    told_N1 = F.sum(ones_NB * worth_1B, axis=1, keepdims=True)
    return F.minimum_scalar(F.maximum_scalar(told_N1, 1.0), most)


def _placed(images_N3RR: nn.Variable, config: NaflexConfig) -> Placed:
    n, most = images_N3RR.shape[0], config.patches
    rows_N1, columns_N1 = (_side(images_N3RR, channel, config) for channel in (0, 1))
    # Looked up, the quotient and the remainder are exact in every precision, too.
    divisors, cells = np.maximum(np.arange(most + 1), 1)[:, None], np.arange(most)
    quotients, rest = (of(cells, divisors) for of in (np.floor_divide, np.remainder))
    table = nn.Variable.from_numpy_array(np.concatenate([quotients, rest], 1).astype("f4"))
    found = F.reshape(F.embed(F.reshape(columns_N1, (n,)), table), (n, 2 * most))
    row_NK, column_NK = found[:, :most], found[:, most:]
    outside_NK = F.greater_equal(row_NK, F.broadcast(rows_N1, (n, most)))
    return Placed(
        (F.reshape(rows_N1, (n, 1, 1)), F.reshape(columns_N1, (n, 1, 1))),
        (F.reshape(row_NK, (n, most, 1)), F.reshape(column_NK, (n, most, 1))),
        F.reshape(outside_NK * MASKED, (n, 1, 1, most)),
    )


def _positions(placed: Placed, config: NaflexConfig) -> nn.Variable:
    """The table of positions, interpolated to the grid of each image: (N, K, D)."""
    n, most = placed.places[0].shape[:2]
    grid, width = config.grid, config.blocks.width
    down_NKG, across_NKG = (
        weights(place, side, grid) for place, side in zip(placed.places, placed.sides, strict=True)
    )
    both = F.reshape(down_NKG, (n, most, grid, 1)) * F.reshape(across_NKG, (n, most, 1, grid))
    table = parameter("positional_embedding", (grid * grid, width), NormalInitializer(width**-0.5))
    flat = F.reshape(both, (1, -1, grid * grid))
    found = F.batch_matmul(flat, F.reshape(table, (1, grid * grid, width)))
    return F.reshape(found, (n, most, width))


def weights(place_NK1: nn.Variable, side_N11: nn.Variable, grid: int) -> nn.Variable:
    """(N, K, G): how much of each row (or column) of the table a place has of its own.

    A triangle, as wide as the step from one place to the next where that is more than one row:
    torch's bilinear interpolation with antialias. A cell that is no patch gets any weights.
    """
    step_N11 = F.r_div_scalar(side_N11, grid)
    wide_N11 = F.maximum_scalar(step_N11, 1.0)
    centre_NK1 = (place_NK1 + 0.5) * step_N11
    centres_11G = nn.Variable.from_numpy_array((np.arange(grid) + 0.5).astype("f4")[None, None])
    far_NKG = F.abs(centres_11G - centre_NK1) / wide_N11
    share_NKG = F.relu(1.0 - far_NKG)
    return share_NKG / F.maximum_scalar(F.sum(share_NKG, axis=2, keepdims=True), 1e-6)
