"""The image tower: a vision transformer.

Axes: N batch, R resolution, G patches along a side, P pixels along a patch, L = 1 + G * G tokens,
D width, E embedding.
"""

import math

from nnclip.graph.config import VitConfig
from nnclip.graph.layers import affine, layer_norm, parameter
from nnclip.graph.transformer import BlockInit, transformer
from nnclip.nnabla import F, NormalInitializer, UniformInitializer, nn


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
