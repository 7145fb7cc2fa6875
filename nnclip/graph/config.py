"""What a model is, apart from its weights; inferred from the shapes of its tensors.

Shapes tell everything but the number of heads, the activation and the epsilon: those stand in a
file's metadata, or are OpenAI's (heads of 64, QuickGELU, 1e-5).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnclip.errors import CheckpointError
from nnclip.graph.bert import BertConfig
from nnclip.graph.heads import IMAGE_HEAD, TEXT_HEAD, HeadConfig, head_from_shapes, head_metadata
from nnclip.graph.losses import loss_in
from nnclip.graph.reading import Reader, Shapes
from nnclip.graph.resnet import ClipResNetConfig
from nnclip.graph.text import TextConfig
from nnclip.graph.torch_resnet import ResNetConfig
from nnclip.graph.towers import ImageTower, TextTower, read_image, read_text
from nnclip.graph.transformer import BlockConfig
from nnclip.graph.vit import VitConfig
from nnclip.image import Preprocess

__all__ = [
    "PUBLISHED",
    "BertConfig",
    "BlockConfig",
    "ClipConfig",
    "ClipResNetConfig",
    "HeadConfig",
    "ResNetConfig",
    "TextConfig",
    "VitConfig",
    "config_from_shapes",
    "metadata_of",
]


@dataclass(frozen=True)
class ClipConfig:
    """Two towers, with a head each or without, that end in one space of `embed` dimensions.

    `loss` names the loss that they were trained with, a key of `LOSSES`.
    """

    embed: int
    image: ImageTower
    text: TextTower
    image_head: HeadConfig | None = None
    text_head: HeadConfig | None = None
    loss: str = "softmax"

    @property
    def image_width(self) -> int:
        """Of the features that the image tower gives, before its head."""
        return self.embed if self.image_head is None else self.image_head.width_in

    @property
    def text_width(self) -> int:
        """Of the features that the text tower gives, before its head."""
        return self.embed if self.text_head is None else self.text_head.width_in


def config_from_shapes(shapes: Shapes, metadata: Mapping[str, Any] | None = None) -> ClipConfig:
    """The configuration of the model whose tensors have these shapes.

    Args:
        shapes: tensor name (published, see `graph.parameters`) -> shape.
        metadata: what shapes do not tell; the keys that `metadata_of` writes, each optional.

    Raises:
        CheckpointError: a tensor that every CLIP has is missing or has the wrong number of axes.
    """
    metadata = metadata or {}
    reader = Reader(shapes, metadata)
    image, image_width = read_image(reader)
    text, text_width = read_text(reader)
    image_head = head_from_shapes(shapes, metadata, IMAGE_HEAD)
    text_head = head_from_shapes(shapes, metadata, TEXT_HEAD)
    embed = _width_after(image_head, image_width, IMAGE_HEAD)
    other = _width_after(text_head, text_width, TEXT_HEAD)
    if embed != other:
        raise CheckpointError(
            f"found features of width {embed} for images and {other} for texts, expected one "
            "width for both"
        )
    loss = loss_in(metadata, shapes).name
    return ClipConfig(embed, image, text, image_head, text_head, loss)


def _width_after(head: HeadConfig | None, width: int, scope: str) -> int:
    """The width of a tower's features after its head; CheckpointError if they do not fit."""
    if head is None:
        return width
    if head.width_in != width:
        raise CheckpointError(
            f"tensor {scope}/proj/W: found {head.width_in} columns, expected {width}, the width "
            "of the tower's features"
        )
    return head.width_out


def metadata_of(config: ClipConfig) -> dict[str, Any]:
    """What a file must say beside its tensors for `config_from_shapes` to find `config` again."""
    return {
        **config.image.metadata(),
        **config.text.metadata(),
        **head_metadata(config.image_head, IMAGE_HEAD),
        **head_metadata(config.text_head, TEXT_HEAD),
        "loss": config.loss,
    }


def _vit(resolution: int, patch: int, embed: int, width: int, layers: int, text: int) -> ClipConfig:
    """One of OpenAI's models: heads of 64, MLPs four times as wide, 12 text layers."""
    blocks = BlockConfig(width, layers, width // 64, 4 * width)
    return ClipConfig(embed, VitConfig(Preprocess(resolution), patch, blocks), _text(text))


def _resnet(
    resolution: int, embed: int, width: int, layers: tuple[int, int, int, int], text: int
) -> ClipConfig:
    """One of OpenAI's models: heads of 64, 12 text layers."""
    image = ClipResNetConfig(Preprocess(resolution), layers, width, heads=width // 2)
    return ClipConfig(embed, image, _text(text))


def _text(width: int) -> TextConfig:
    return TextConfig(49408, 77, BlockConfig(width, 12, width // 64, 4 * width))


# Source: Learning Transferable Visual Models From Natural Language Supervision, tables 19 and 20.
PUBLISHED: dict[str, ClipConfig] = {
    "ViT-B/32": _vit(224, 32, 512, 768, 12, 512),
    "ViT-B/16": _vit(224, 16, 512, 768, 12, 512),
    "ViT-L/14": _vit(224, 14, 768, 1024, 24, 768),
    "ViT-L/14@336px": _vit(336, 14, 768, 1024, 24, 768),
    "RN50": _resnet(224, 1024, 64, (3, 4, 6, 3), 512),
    "RN101": _resnet(224, 512, 64, (3, 4, 23, 3), 512),
    "RN50x4": _resnet(288, 640, 80, (4, 6, 10, 6), 640),
    "RN50x16": _resnet(384, 768, 96, (6, 8, 18, 8), 768),
    "RN50x64": _resnet(448, 1024, 128, (3, 15, 36, 10), 1024),
}
