"""Features of each place of an image, for maps: the tower without what mixes places at its end.

Axes: N batch, R resolution, G places along a side, C channels, D width, E embedding.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import singledispatch
from typing import Any

from nnclip.errors import ConfigError
from nnclip.graph.config import ClipConfig
from nnclip.graph.convnext import ConvNextConfig
from nnclip.graph.heads import IMAGE_HEAD, head
from nnclip.graph.layers import ZERO, Attend, layer_norm, linear, parameter, projected
from nnclip.graph.resnet import ClipResNetConfig
from nnclip.graph.torch_resnet import ResNetConfig
from nnclip.graph.transformer import BlockInit, block, every_row, transformer
from nnclip.graph.vit import VitConfig, placed_tokens, read, turns_of
from nnclip.nnabla import F, nn


def dense_features(
    images_N3RR: nn.Variable, config: ClipConfig, attend: Attend, bare: bool
) -> nn.Variable:
    """Features of the places of images, row by row, (N, G * G, E), not normalised.

    Args:
        images_N3RR: float, from `preprocess`.
        config: the model.
        attend: in the place of the last block's attention, where there are blocks.
        bare: without that block's shortcut and MLP.

    Raises:
        ConfigError: the tower reads its places in another way than one by one.
    """
    rows = _dense(config.image, images_N3RR, config.image_width, attend, bare)
    if config.image_head is not None:
        rows = head(rows, config.image_head, IMAGE_HEAD)
    return F.reshape(rows, (images_N3RR.shape[0], -1, rows.shape[1]))


@singledispatch
def _dense(
    tower: Any, images_N3RR: nn.Variable, width: int, attend: Attend, bare: bool
) -> nn.Variable:
    """Features (N * G * G, E)."""
    raise ConfigError(
        f"found a {tower.kind}, whose places have no features of their own; use method='grad-cam'"
    )


@_dense.register
def _vit(
    tower: VitConfig, images_N3RR: nn.Variable, width: int, attend: Attend, bare: bool
) -> nn.Variable:
    blocks, init, turns = tower.blocks, BlockInit(), turns_of(tower)
    with nn.parameter_scope("visual"):
        x_NLD = transformer(
            placed_tokens(images_N3RR, tower, width),
            replace(blocks, layers=blocks.layers - 1),
            init=init,
            mask=None,
            last_rows=every_row,
            last_mask=None,
            turns_1LC=turns,
        )
        with nn.parameter_scope(f"transformer/resblocks/{blocks.layers - 1}"):
            x_NLD = block(x_NLD, blocks, init, None, every_row, turns, attend, bare)
        places_NLD = x_NLD[:, 1:, :] if tower.class_token else x_NLD
        return read(places_NLD, tower, width, each=True)


@_dense.register
def _clip_resnet(
    tower: ClipResNetConfig, images_N3RR: nn.Variable, width: int, attend: Attend, bare: bool
) -> nn.Variable:
    """The values of the attention pooling, without its question."""
    x_NDL = _last_stage(tower.build, images_N3RR, width)
    channels = x_NDL.shape[1]
    with nn.parameter_scope("visual/attnpool"):
        position_LD = parameter("positional_embedding", (tower.tokens, channels), ZERO)[1:, :]
        x_NLD = F.transpose(x_NDL, (0, 2, 1)) + F.reshape(position_LD, (1, -1, channels))
        return linear(linear(F.reshape(x_NLD, (-1, channels)), channels, "v_proj"), width, "c_proj")


@_dense.register
def _torch_resnet(
    tower: ResNetConfig, images_N3RR: nn.Variable, width: int, attend: Attend, bare: bool
) -> nn.Variable:
    return _rows(_last_stage(tower.build, images_N3RR, width))


@_dense.register
def _convnext(
    tower: ConvNextConfig, images_N3RR: nn.Variable, width: int, attend: Attend, bare: bool
) -> nn.Variable:
    x = _rows(_last_stage(tower.build, images_N3RR, width))
    with nn.parameter_scope("visual"):
        name = "head" if tower.projection == "mlp" else "proj"
        return projected(layer_norm(x, "norm", tower.eps), width, tower.projection, name)


def _last_stage(
    build: Callable[..., nn.Variable], images_N3RR: nn.Variable, width: int
) -> nn.Variable:
    """What leaves the last stage of a convolutional tower, (N, C, G * G)."""
    hidden: list[nn.Variable] = []
    build(images_N3RR, width, hidden)
    return F.reshape(hidden[-1], (*hidden[-1].shape[:2], -1))


def _rows(x_NCL: nn.Variable) -> nn.Variable:
    return F.reshape(F.transpose(x_NCL, (0, 2, 1)), (-1, x_NCL.shape[1]))
