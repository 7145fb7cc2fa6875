"""What a model is, apart from its weights; inferred from the shapes of its tensors.

Shapes tell everything but the number of heads, the activation and the epsilon: those stand in a
file's metadata, or are OpenAI's (heads of 64, QuickGELU, 1e-5).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nnclip.errors import CheckpointError
from nnclip.graph.layers import ACTIVATIONS
from nnclip.image import CLIP_MEAN, CLIP_STD

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class BlockConfig:
    """A stack of pre-norm transformer blocks."""

    width: int
    layers: int
    heads: int
    hidden: int  # width of the perceptron
    activation: str = "quick_gelu"  # a key of layers.ACTIVATIONS
    eps: float = 1e-5  # of every layer normalisation


@dataclass(frozen=True)
class VitConfig:
    """A vision transformer: square pictures, square patches, one class token."""

    resolution: int  # pixels
    patch: int  # pixels
    blocks: BlockConfig
    mean: tuple[float, float, float] = CLIP_MEAN  # of the RGB channels in [0, 1]
    std: tuple[float, float, float] = CLIP_STD

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


@dataclass(frozen=True)
class ClipConfig:
    """Two towers that end in one space of `embed` dimensions."""

    embed: int
    image: VitConfig
    text: TextConfig


@dataclass(frozen=True)
class _Reader:
    """The shapes of a file, with errors that name what is missing."""

    shapes: Shapes
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def shape(self, name: str, ndim: int) -> tuple[int, ...]:
        """The shape of tensor `name`; CheckpointError unless `ndim` axes, none of them empty."""
        found = self.shapes.get(name)
        if found is None or len(found) != ndim or 0 in found:
            what = "no such tensor" if found is None else f"shape {tuple(found)}"
            raise CheckpointError(
                f"tensor {name}: found {what}, expected one with {ndim} axes; this is not a CLIP "
                "with a vision transformer (convert foreign files with convert/torch_to_h5.py)"
            )
        return tuple(found)

    def number(self, key: str, default: float, least: float) -> float:
        """A number of the metadata; CheckpointError unless it is one, and at least `least`."""
        found = self.metadata.get(key, default)
        if not isinstance(found, int | float) or not least <= found < math.inf:
            raise CheckpointError(
                f"metadata {key}: found {found!r}, expected a number of at least {least:g}"
            )
        return float(found)

    def channels(
        self, key: str, default: tuple[float, float, float], least: float
    ) -> tuple[float, float, float]:
        """A number for each of red, green and blue; CheckpointError as for `number`."""
        found = self.metadata.get(key, default)
        ok = isinstance(found, list | tuple) and len(found) == 3
        if not ok or not all(isinstance(x, int | float) and least <= x < math.inf for x in found):
            raise CheckpointError(
                f"metadata {key}: found {found!r}, expected three numbers of at least {least:g}"
            )
        red, green, blue = map(float, found)
        return red, green, blue

    def activation(self) -> str:
        """The activation of both towers; CheckpointError if there is none of that name."""
        found = self.metadata.get("activation", "quick_gelu")
        if found not in ACTIVATIONS:
            raise CheckpointError(
                f"metadata activation: found {found!r}, expected one of {', '.join(ACTIVATIONS)}"
            )
        return found

    def blocks(self, prefix: str, tower: str) -> BlockConfig:
        """The configuration of the blocks under `prefix`."""
        pattern = re.compile(re.escape(prefix) + r"transformer/resblocks/(\d+)/")
        numbers = {int(match[1]) for match in map(pattern.match, self.shapes) if match}
        name = f"{prefix}transformer/resblocks/0/mlp/c_fc/W"
        hidden, width = self.shape(name, 2)
        heads = int(self.number(f"{tower}_heads", max(width // 64, 1), 1))
        if width % heads:
            raise CheckpointError(
                f"metadata {tower}_heads: found {heads}, expected a divisor of the width {width}"
            )
        return BlockConfig(
            width=width,
            layers=len(numbers),  # a gap in the numbers shows as tensors missing and left over
            heads=heads,
            hidden=hidden,
            activation=self.activation(),
            eps=self.number("layer_norm_eps", 1e-5, 0),
        )

    def image(self) -> VitConfig:
        """The configuration of the image tower."""
        patch = self.shape("visual/conv1/W", 4)[3]
        tokens = self.shape("visual/positional_embedding", 2)[0]
        grid = round((tokens - 1) ** 0.5)
        if grid * grid + 1 != tokens:
            raise CheckpointError(
                f"tensor visual/positional_embedding: found {tokens} tokens, expected one more "
                "than a square"
            )
        return VitConfig(
            resolution=int(self.number("resolution", grid * patch, patch)),
            patch=patch,
            blocks=self.blocks("visual/", "image"),
            mean=self.channels("mean", CLIP_MEAN, 0),
            std=self.channels("std", CLIP_STD, 1e-6),
        )

    def text(self) -> TextConfig:
        """The configuration of the text tower."""
        return TextConfig(
            vocabulary=self.shape("token_embedding/W", 2)[0],
            context=self.shape("positional_embedding", 2)[0],
            blocks=self.blocks("", "text"),
        )


def config_from_shapes(shapes: Shapes, metadata: Mapping[str, Any] | None = None) -> ClipConfig:
    """The configuration of the model whose tensors have these shapes.

    Args:
        shapes: tensor name (published, see `graph.parameters`) -> shape.
        metadata: what shapes do not tell; the keys that `metadata_of` writes, each optional.

    Raises:
        CheckpointError: a tensor that every CLIP has is missing or has the wrong number of axes.
    """
    reader = _Reader(shapes, metadata or {})
    embed = reader.shape("visual/proj", 2)[1]
    return ClipConfig(embed=embed, image=reader.image(), text=reader.text())


def metadata_of(config: ClipConfig) -> dict[str, Any]:
    """What a file must say beside its tensors for `config_from_shapes` to find `config` again."""
    return {
        "activation": config.image.blocks.activation,
        "image_heads": config.image.blocks.heads,
        "text_heads": config.text.blocks.heads,
        "layer_norm_eps": config.image.blocks.eps,
        "resolution": config.image.resolution,
        "mean": list(config.image.mean),
        "std": list(config.image.std),
    }


def _vit(resolution: int, patch: int, embed: int, width: int, layers: int, text: int) -> ClipConfig:
    """One of OpenAI's models: heads of 64, perceptrons four times as wide, 12 text layers."""
    image_blocks = BlockConfig(width, layers, width // 64, 4 * width)
    text_blocks = BlockConfig(text, 12, text // 64, 4 * text)
    image = VitConfig(resolution, patch, image_blocks)
    return ClipConfig(embed, image, TextConfig(49408, 77, text_blocks))


# Source: Learning Transferable Visual Models From Natural Language Supervision, table 20.
PUBLISHED: dict[str, ClipConfig] = {
    "ViT-B/32": _vit(224, 32, 512, 768, 12, 512),
    "ViT-B/16": _vit(224, 16, 512, 768, 12, 512),
    "ViT-L/14": _vit(224, 14, 768, 1024, 24, 768),
    "ViT-L/14@336px": _vit(336, 14, 768, 1024, 24, 768),
}
