"""What a model is, apart from its weights; inferred from the shapes of its tensors.

Shapes tell everything but the number of heads, the activation and the epsilon: those stand in a
file's metadata, or are OpenAI's (heads of 64, QuickGELU, 1e-5).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnclip.errors import CheckpointError
from nnclip.graph.bert import BertConfig, bert_metadata, is_bert, read_bert
from nnclip.graph.heads import IMAGE_HEAD, TEXT_HEAD, HeadConfig, head_from_shapes, head_metadata
from nnclip.graph.losses import loss_in
from nnclip.graph.reading import Reader, Shapes
from nnclip.graph.resnet import (
    ClipResNetConfig,
    clip_resnet_config,
    clip_resnet_metadata,
    is_clip_resnet,
)
from nnclip.graph.torch_resnet import (
    ResNetConfig,
    is_torch_resnet,
    torch_resnet_config,
    torch_resnet_metadata,
)
from nnclip.graph.transformer import BlockConfig
from nnclip.image import Preprocess

__all__ = [
    "PUBLISHED",
    "AnyTextConfig",
    "BertConfig",
    "BlockConfig",
    "ClipConfig",
    "ClipResNetConfig",
    "HeadConfig",
    "ImageConfig",
    "ResNetConfig",
    "TextConfig",
    "VitConfig",
    "config_from_shapes",
    "image_metadata",
    "metadata_of",
    "read_image",
    "read_text",
    "text_metadata",
]


@dataclass(frozen=True)
class VitConfig:
    """A vision transformer: square pictures, square patches, one class token."""

    preprocess: Preprocess
    patch: int  # pixels
    blocks: BlockConfig

    @property
    def resolution(self) -> int:
        """Pixels along a side."""
        return self.preprocess.resolution

    @property
    def tokens(self) -> int:
        """Number of patches plus the class token."""
        return (self.resolution // self.patch) ** 2 + 1


@dataclass(frozen=True)
class TextConfig:
    """A causal text transformer, read at the end-of-text token."""

    vocabulary: int
    context: int  # tokens
    blocks: BlockConfig


ImageConfig = VitConfig | ClipResNetConfig | ResNetConfig
AnyTextConfig = TextConfig | BertConfig


@dataclass(frozen=True)
class ClipConfig:
    """Two towers, with a head each or without, that end in one space of `embed` dimensions.

    `loss` names the loss that they were trained with, a key of `LOSSES`.
    """

    embed: int
    image: ImageConfig
    text: AnyTextConfig
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


def _vit_config(reader: Reader) -> VitConfig:
    patch = reader.shape("visual/conv1/W", 4)[3]
    tokens = reader.shape("visual/positional_embedding", 2)[0]
    grid = round((tokens - 1) ** 0.5)
    if grid * grid + 1 != tokens:
        raise CheckpointError(
            f"tensor visual/positional_embedding: found {tokens} tokens, expected one more "
            "than a square"
        )
    return VitConfig(
        preprocess=reader.preprocess(Preprocess(grid * patch), patch),
        patch=patch,
        blocks=reader.blocks("visual/", "image_heads"),
    )


def _text_config(reader: Reader) -> TextConfig:
    return TextConfig(
        vocabulary=reader.shape("token_embedding/W", 2)[0],
        context=reader.shape("positional_embedding", 2)[0],
        # Joined of two models, the sides may differ; elsewhere they are told together.
        blocks=reader.blocks(
            "",
            "text_heads",
            ("text_activation", reader.metadata.get("activation", "quick_gelu")),
            ("text_layer_norm_eps", reader.metadata.get("layer_norm_eps", 1e-5)),
        ),
    )


def read_image(reader: Reader) -> tuple[ImageConfig, int]:
    """The image tower of a file and the width of its features; CheckpointError if it has none."""
    if is_clip_resnet(reader):
        return clip_resnet_config(reader)
    if is_torch_resnet(reader):
        return torch_resnet_config(reader)
    return _vit_config(reader), reader.shape("visual/proj", 2)[1]


def read_text(reader: Reader) -> tuple[AnyTextConfig, int]:
    """The text tower of a file and the width of its features; CheckpointError if it has none."""
    if is_bert(reader):
        bert = read_bert(reader)
        return bert, bert.features
    return _text_config(reader), reader.shape("text_projection", 2)[1]


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
            f"found features of width {embed} for pictures and {other} for texts, expected one "
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
        **image_metadata(config.image),
        **text_metadata(config.text),
        **head_metadata(config.image_head, IMAGE_HEAD),
        **head_metadata(config.text_head, TEXT_HEAD),
        "loss": config.loss,
    }


def image_metadata(config: ImageConfig) -> dict[str, Any]:
    """What a file must say for `read_image` to find `config` again."""
    if isinstance(config, ClipResNetConfig):
        return clip_resnet_metadata(config)
    if isinstance(config, ResNetConfig):
        return torch_resnet_metadata(config)
    return {
        "activation": config.blocks.activation,
        "image_heads": config.blocks.heads,
        "layer_norm_eps": config.blocks.eps,
        **config.preprocess.metadata(),
    }


def text_metadata(config: AnyTextConfig) -> dict[str, Any]:
    """What a file must say for `read_text` to find `config` again."""
    if isinstance(config, BertConfig):
        return bert_metadata(config)
    return {
        "text_activation": config.blocks.activation,
        "text_heads": config.blocks.heads,
        "text_layer_norm_eps": config.blocks.eps,
    }


def _vit(resolution: int, patch: int, embed: int, width: int, layers: int, text: int) -> ClipConfig:
    """One of OpenAI's models: heads of 64, perceptrons four times as wide, 12 text layers."""
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
