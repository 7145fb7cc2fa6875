"""Convolutional stems: what some vision transformers have in the place of the patch embedding.

Axes: N batch, R resolution, C channels, X places along a side, L = X * X tokens, D width.

Source: ViTamin, Chen et al., Designing Scalable Vision Models in the Vision-Language Era (2024),
section 3; MobileCLIP, Vasu et al. (2024), section 3. timm/models/vitamin.py and
vision_transformer_hybrid.py.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

from nnclip.graph.convolution import channel_norm, convolution
from nnclip.graph.layers import gelu
from nnclip.graph.reading import Reader
from nnclip.nnabla import F, NormalInitializer, nn

EXPANSION = 4  # channels inside a block of MBConv, in multiples of those that leave it


class Stem(Protocol):
    """Images -> places, under the scope `visual/stem`.

    Attributes:
        kind: in a sentence, behind "vision transformer after ".
        stride: pixels along a side of one place.
    """

    kind: ClassVar[str]
    stride: ClassVar[int]

    @classmethod
    def read(cls, reader: Reader) -> "Stem | None":
        """The stem of a file; None if it has another one or none."""
        ...

    def build(self, images_N3RR: nn.Variable, width: int, eps: float) -> nn.Variable:
        """Places (N, D, X, X); `eps` is that of the tower's layer normalisations."""
        ...


@dataclass(frozen=True)
class MBConvStem:
    """ViTamin's: two convolutions, two stages of MBConv blocks, and a convolution to the width.

    Attributes:
        first: channels of the first two convolutions.
        layers: blocks in each stage, the first of them strided.
        widths: channels of each stage.
    """

    first: int
    layers: tuple[int, ...]
    widths: tuple[int, ...]

    kind: ClassVar[str] = "stages of MBConv"
    stride: ClassVar[int] = 16

    @classmethod
    def read(cls, reader: Reader) -> "MBConvStem | None":
        """See `Stem`; MBConv blocks tell it."""
        if not reader.has("visual/stem/stages/"):
            return None
        last = [f"visual/stem/stages/{s}/0/conv3_1x1/W" for s in (0, 1)]
        return cls(
            first=reader.shape("visual/stem/conv1/W", 4)[0],
            layers=tuple(reader.numbers_in(f"visual/stem/stages/{s}/") for s in (0, 1)),
            widths=tuple(reader.shape(name, 4)[0] for name in last),
        )

    def build(self, images_N3RR: nn.Variable, width: int, eps: float) -> nn.Variable:
        """See `Stem`."""
        with nn.parameter_scope("stem"):
            x = _spread(images_N3RR, self.first, 3, "conv1", 2)
            x = gelu(channel_norm(x, "norm1", eps))
            x = _spread(x, self.first, 3, "conv2")
            for s, (layers, out) in enumerate(zip(self.layers, self.widths, strict=True)):
                for i in range(layers):
                    with nn.parameter_scope(f"stages/{s}/{i}"):
                        x = _mbconv(x, out, eps, stride=1 if i else 2)
            x = channel_norm(x, "pool/norm", eps)
            return convolution(x, width, 3, "pool/proj", 2, bias=True)


def _spread(
    x: nn.Variable, out: int, kernel: int, scope: str, stride: int = 1, groups: int = 1
) -> nn.Variable:
    """A convolution with bias that begins as timm's do, by the fan out."""
    init = NormalInitializer(math.sqrt(2 * groups / (kernel * kernel * out)))
    return convolution(x, out, kernel, scope, stride, init, groups=groups, bias=True)


def _mbconv(x_NCXX: nn.Variable, out: int, eps: float, stride: int) -> nn.Variable:
    """Norm, expansion, depthwise convolution, reduction; and a shortcut."""
    inside, short = EXPANSION * out, x_NCXX
    if stride > 1:
        short = F.average_pooling(x_NCXX, (3, 3), (2, 2), pad=(1, 1), including_pad=False)
    if x_NCXX.shape[1] != out:
        short = _spread(short, out, 1, "shortcut/expand")
    y = channel_norm(x_NCXX, "pre_norm", eps)
    y = gelu(_spread(y, inside, 1, "conv1_1x1"))
    y = gelu(_spread(y, inside, 3, "conv2_kxk", stride, groups=inside))
    return _spread(y, out, 1, "conv3_1x1") + short


@dataclass(frozen=True)
class PatchesStem:
    """MobileCLIP-B's: patches of 4 pixels, then patches of 2 twice, with GELU between.

    Its batch normalisations are folded when it is converted.

    Attributes:
        widths: channels of the first two convolutions.
    """

    widths: tuple[int, ...]

    kind: ClassVar[str] = "three convolutions of patches"
    stride: ClassVar[int] = 16

    @classmethod
    def read(cls, reader: Reader) -> "PatchesStem | None":
        """See `Stem`; three numbered convolutions tell it."""
        if not reader.has("visual/stem/2/"):
            return None
        return cls(tuple(reader.shape(f"visual/stem/{i}/W", 4)[0] for i in (0, 1)))

    def build(self, images_N3RR: nn.Variable, width: int, eps: float) -> nn.Variable:
        """See `Stem`."""
        with nn.parameter_scope("stem"):
            x = gelu(convolution(images_N3RR, self.widths[0], 4, "0", 4, bias=True))
            x = gelu(convolution(x, self.widths[1], 2, "1", 2, bias=True))
            return convolution(x, width, 2, "2", 2, bias=True)


STEMS: tuple[type[Stem], ...] = (MBConvStem, PatchesStem)


def read_stem(reader: Reader) -> Stem | None:
    """The stem of a file's vision transformer; None where it embeds patches."""
    return next((found for kind in STEMS if (found := kind.read(reader))), None)
