"""The image tower: a vision transformer.

Axes: N batch, R resolution, G patches along a side, P pixels along a patch, L = 1 + G * G tokens,
D width, E embedding.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from nnclip.errors import CheckpointError
from nnclip.graph.layers import affine, layer_norm, parameter
from nnclip.graph.positions import GridPositions
from nnclip.graph.reading import Reader, option_metadata
from nnclip.graph.transformer import BlockConfig, BlockInit, transformer
from nnclip.image import Preprocess
from nnclip.nnabla import F, NormalInitializer, UniformInitializer, nn

POSITIONS = "visual/positional_embedding"


@dataclass(frozen=True)
class VitConfig:
    """A vision transformer: square images, square patches, one class token.

    What another family changes is a field with CLIP's value as its default: an `option` where
    metadata tells it, read in `read` where a tensor's presence does.
    """

    preprocess: Preprocess
    patch: int  # pixels
    blocks: BlockConfig

    side: ClassVar[Literal["image"]] = "image"
    whole_strides: ClassVar[bool] = False
    positions: ClassVar[GridPositions] = GridPositions(POSITIONS, before=1)

    @property
    def resolution(self) -> int:
        """Pixels along a side."""
        return self.preprocess.resolution

    @property
    def tokens(self) -> int:
        """Number of patches plus the class token."""
        return (self.resolution // self.patch) ** 2 + 1

    @property
    def stride(self) -> int:
        """Pixels along a side of a patch."""
        return self.patch

    @property
    def kind(self) -> str:
        """See `ImageTower`."""
        return f"vision transformer with patches of {self.patch} pixels"

    @classmethod
    def read(cls, reader: Reader) -> "tuple[VitConfig, int] | None":
        """The tower of these tensors; None if there are no transformer blocks or class token."""
        if not any(map(reader.has, ("visual/transformer/", "visual/class_embedding"))):
            return None
        patch = reader.shape("visual/conv1/W", 4)[3]
        tokens = reader.shape(POSITIONS, 2)[0]
        grid = round((tokens - 1) ** 0.5)
        if grid * grid + 1 != tokens:
            raise CheckpointError(
                f"tensor {POSITIONS}: found {tokens} tokens, expected one more than a square"
            )
        config = cls(
            preprocess=reader.preprocess(Preprocess(grid * patch), patch),
            patch=patch,
            blocks=reader.blocks("visual/", "image_heads"),
            **reader.options(cls),
        )
        return config, reader.shape("visual/proj", 2)[1]

    def metadata(self) -> dict[str, Any]:
        """What a file must say for `read` to find this tower again."""
        return {
            "activation": self.blocks.activation,
            "image_heads": self.blocks.heads,
            "layer_norm_eps": self.blocks.eps,
            **self.preprocess.metadata(),
            **option_metadata(self),
        }

    def describe(self) -> str:
        """The kind and the sizes."""
        return f"{self.kind}: {self.blocks.describe()}, {self.resolution} pixels"

    def build(
        self,
        images_N3RR: nn.Variable,
        width: int,
        hidden: list[nn.Variable] | None = None,
        trained_statistics: bool = False,
    ) -> nn.Variable:
        """See `ImageTower`; it has no batch normalisations."""
        return image_tower(images_N3RR, self, width, hidden)


def embed_patches(images_N3RR: nn.Variable, config: VitConfig) -> nn.Variable:
    """(N, 3, R, R) -> (N, G * G, D): the patch convolution, written as one product."""
    n, patch, width = images_N3RR.shape[0], config.patch, config.blocks.width
    bound = 1 / math.sqrt(3 * patch * patch)
    with nn.parameter_scope("conv1"):
        w_D3PP = parameter("W", (width, 3, patch, patch), UniformInitializer((-bound, bound)))
    grid = config.resolution // patch
    used = grid * patch  # a convolution drops the pixels of an incomplete patch
    if used != config.resolution:
        images_N3RR = images_N3RR[:, :, :used, :used]
    x = F.reshape(images_N3RR, (n, 3, grid, patch, grid, patch))
    x = F.reshape(F.transpose(x, (0, 2, 4, 1, 3, 5)), (n, grid * grid, 3 * patch * patch))
    return affine(x, F.reshape(w_D3PP, (width, 3 * patch * patch)))


def image_tower(
    images_N3RR: nn.Variable,
    config: VitConfig,
    embed: int,
    hidden: list[nn.Variable] | None = None,
) -> nn.Variable:
    """Features of pictures, under the scope `visual`.

    Args:
        images_N3RR: float, normalised with the configuration's mean and std.
        config: the tower.
        embed: width of the features.
        hidden: where given, the output of each block is appended to it: (N, L, D), of the last
            block only its class token (N, 1, D).

    Returns: features_NE, not normalised.
    """
    blocks, n = config.blocks, images_N3RR.shape[0]
    scaled = NormalInitializer(blocks.width**-0.5)
    with nn.parameter_scope("visual"):
        class_D = parameter("class_embedding", (blocks.width,), scaled)
        position_LD = parameter("positional_embedding", (config.tokens, blocks.width), scaled)
        proj_DE = parameter("proj", (blocks.width, embed), scaled)
        patches_NLD = embed_patches(images_N3RR, config)
        # Padding makes room for the class token: joined to the positions, which know no batch, it
        # is one constant for the compiler.
        class_1LD = F.pad(F.reshape(class_D, (1, 1, -1)), (0, 0, 0, config.tokens - 1, 0, 0))
        x_NLD = F.pad(patches_NLD, (0, 0, 1, 0, 0, 0)) + (
            F.reshape(position_LD, (1, *position_LD.shape)) + class_1LD
        )
        x_NLD = layer_norm(x_NLD, "ln_pre", blocks.eps)
        x_N1D = transformer(
            x_NLD,
            blocks,
            init=BlockInit(),
            mask=None,
            last_rows=lambda x: x[:, :1, :],
            last_mask=None,
            hidden=hidden,
        )
        x_1ND = F.reshape(layer_norm(x_N1D, "ln_post", blocks.eps), (1, n, blocks.width))
        return F.reshape(
            F.batch_matmul(x_1ND, F.reshape(proj_DE, (1, blocks.width, embed))), (n, embed)
        )
