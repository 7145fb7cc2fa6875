"""FastViT, the image tower of MobileCLIP, folded: convolutions with bias, GELU, some attention.

What it is trained with (parallel branches, batch normalisations, scales and shortcuts of token
mixers) is linear, and one convolution each after conversion; see `nnclip.convert.timm_fastvit`.

Names below `visual`: stem/{0,1,2}, stages/0/downsample/{0,1,se/fc1,se/fc2}, stages/0/pos_emb,
stages/0/blocks/0/{mixer,mlp/conv,mlp/fc1,mlp/fc2} or {ln,attn/in_proj_W,...}, final_conv, se, head.

Axes: N batch, R resolution, C channels, X places along a side, L = X * X, E embedding.

Source: Vasu et al., FastViT (2023) and MobileCLIP (2024), figure 2; timm/models/fastvit.py.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from nnclip.graph.convolution import channels_first, channels_last, convolution
from nnclip.graph.layers import affine, attention, gelu, layer_norm, linear, parameter
from nnclip.graph.positions import GridPositions
from nnclip.graph.reading import Reader, option_metadata
from nnclip.graph.resnet import describe_stages
from nnclip.graph.transformer import every_row
from nnclip.image import Preprocess
from nnclip.nnabla import BaseInitializer, F, NormalInitializer, UniformInitializer, nn

HEAD = 32  # width of a head of attention
EPS = 1e-5  # of layer normalisations
SMALL = 1e-3  # deviation of a block's last matrix: each block begins near the identity


class Identity(BaseInitializer):
    """A depthwise filter (C, 1, K, K) that changes nothing."""

    def __call__(self, shape: tuple[int, ...]) -> np.ndarray:
        """The filter of this shape."""
        filters = np.zeros(shape, np.float32)
        filters[:, :, shape[2] // 2, shape[3] // 2] = 1
        return filters


@dataclass(frozen=True)
class Stage:
    """Some blocks that see one resolution.

    Attributes:
        layers: blocks.
        width: channels.
        hidden: channels inside the MLP of a block.
        halves: whether it begins by halving the places.
        squeezed: channels inside the squeeze and excitation that follows; 0 for none.
        positions: whether positions are added, by a convolution.
        attends: whether its blocks mix places by attention, else by a convolution.
        normalised: whether a layer normalisation comes before the attention.
    """

    layers: int
    width: int
    hidden: int
    halves: bool
    squeezed: int
    positions: bool
    attends: bool
    normalised: bool

    @classmethod
    def read(cls, reader: Reader, s: int) -> "Stage":
        """The stage of that number."""
        at = f"visual/stages/{s}"
        hidden, width, *_ = reader.shape(f"{at}/blocks/0/mlp/fc1/W", 4)
        se = reader.has(f"{at}/downsample/se/")
        return cls(
            layers=reader.numbers_in(f"{at}/blocks/"),
            width=width,
            hidden=hidden,
            halves=reader.has(f"{at}/downsample/"),
            squeezed=_inside(reader, f"{at}/downsample/se") if se else 0,
            positions=reader.has(f"{at}/pos_emb/"),
            attends=reader.has(f"{at}/blocks/0/attn/"),
            normalised=reader.has(f"{at}/blocks/0/ln/"),
        )


@dataclass(frozen=True)
class FastVitConfig:
    """A FastViT; shapes tell all of it.

    Attributes:
        preprocess: how images are prepared; to a multiple of `stride` pixels.
        stages: from the finest to the coarsest.
        width: channels before the projection.
        squeezed: channels inside the squeeze and excitation of those.
    """

    preprocess: Preprocess
    stages: tuple[Stage, ...]
    width: int
    squeezed: int

    side: ClassVar[Literal["image"]] = "image"
    kind: ClassVar[str] = "FastViT"
    whole_strides: ClassVar[bool] = True
    positions: ClassVar[GridPositions | None] = None

    @property
    def resolution(self) -> int:
        """Pixels along a side."""
        return self.preprocess.resolution

    @property
    def stride(self) -> int:
        """Pixels along a side of one place of the last stage."""
        return int(4 << sum(stage.halves for stage in self.stages))

    @classmethod
    def read(cls, reader: Reader) -> "tuple[FastVitConfig, int] | None":
        """The tower of these tensors; None without a convolution in the MLP of its first block."""
        if not reader.has("visual/stages/0/blocks/0/mlp/conv/"):
            return None
        stages = range(reader.numbers_in("visual/stages/"))
        config = cls(
            preprocess=reader.preprocess(Preprocess(256), 1),
            stages=tuple(Stage.read(reader, s) for s in stages),
            width=reader.shape("visual/final_conv/W", 4)[0],
            squeezed=_inside(reader, "visual/se"),
            **reader.options(cls),
        )
        return config, reader.shape("visual/head/W", 2)[0]

    def metadata(self) -> dict[str, Any]:
        """What a file must say beside its tensors for `read` to find this tower again."""
        return {**self.preprocess.metadata(), **option_metadata(self)}

    def describe(self) -> str:
        """The kind and the sizes."""
        return (
            f"{self.kind}: {describe_stages(tuple(s.layers for s in self.stages))}, "
            f"{' + '.join(str(s.width) for s in self.stages)} channels, {self.resolution} pixels"
        )

    def build(
        self,
        images_N3RR: nn.Variable,
        width: int,
        hidden: list[nn.Variable] | None = None,
        trained_statistics: bool = False,
    ) -> nn.Variable:
        """See `ImageTower`; it has no batch normalisations. `hidden` takes (N, C, X, X)."""
        first = self.stages[0].width
        with nn.parameter_scope("visual"):
            x = gelu(convolution(images_N3RR, first, 3, "stem/0", 2, bias=True))
            x = gelu(convolution(x, first, 3, "stem/1", 2, groups=first, bias=True))
            x = gelu(convolution(x, first, 1, "stem/2", bias=True))
            for s, stage in enumerate(self.stages):
                with nn.parameter_scope(f"stages/{s}"):
                    x = _stage(x, stage)
                if hidden is not None:
                    hidden.append(x)
            x = convolution(x, self.width, 3, "final_conv", groups=x.shape[1], bias=True)
            x = gelu(_squeezed(x, "se", self.squeezed))
            return linear(F.mean(x, axis=(2, 3)), width, "head")


def _small() -> NormalInitializer:
    """Made again for each parameter: an initialiser keeps the random numbers of its making."""
    return NormalInitializer(SMALL)


def _inside(reader: Reader, scope: str) -> int:
    return reader.shape(f"{scope}/fc1/W", 4)[0]


def _stage(x_NCXX: nn.Variable, stage: Stage) -> nn.Variable:
    if stage.halves:
        with nn.parameter_scope("downsample"):
            inside = x_NCXX.shape[1]
            x_NCXX = convolution(x_NCXX, stage.width, 7, "0", 2, groups=inside, bias=True)
            if stage.squeezed:
                x_NCXX = _squeezed(x_NCXX, "se", stage.squeezed)
            x_NCXX = gelu(convolution(gelu(x_NCXX), stage.width, 1, "1", bias=True))
    if stage.positions:
        x_NCXX = _depthwise(x_NCXX, 7, "pos_emb", Identity())
    for i in range(stage.layers):
        with nn.parameter_scope(f"blocks/{i}"):
            if stage.attends:
                x_NCXX = x_NCXX + _attention(x_NCXX, stage.normalised)
            else:
                x_NCXX = _depthwise(x_NCXX, 3, "mixer", Identity())
            y = _depthwise(x_NCXX, 7, "mlp/conv")
            y = gelu(convolution(y, stage.hidden, 1, "mlp/fc1", bias=True))
            x_NCXX = x_NCXX + convolution(y, stage.width, 1, "mlp/fc2", 1, _small(), bias=True)
    return x_NCXX


def _depthwise(
    x_NCXX: nn.Variable, kernel: int, scope: str, init: BaseInitializer | None = None
) -> nn.Variable:
    channels = x_NCXX.shape[1]
    return convolution(x_NCXX, channels, kernel, scope, 1, init, groups=channels, bias=True)


def _squeezed(x_NCXX: nn.Variable, scope: str, inside: int) -> nn.Variable:
    """Squeeze and excitation: each channel times a number that the means of all tell.

    Its convolutions see one place; as products of matrices they keep their accuracy in int8.
    """
    n, channels = x_NCXX.shape[:2]
    with nn.parameter_scope(scope):
        y_NC = F.relu(_pointwise(F.mean(x_NCXX, axis=(2, 3)), inside, "fc1"))
        y_NC = F.sigmoid(_pointwise(y_NC, channels, "fc2"))
    return x_NCXX * F.reshape(y_NC, (n, channels, 1, 1))


def _pointwise(x_NC: nn.Variable, out: int, scope: str) -> nn.Variable:
    """A convolution (O, C, 1, 1) of one place."""
    inside = x_NC.shape[1]
    uniform = UniformInitializer((-(inside**-0.5), inside**-0.5))
    with nn.parameter_scope(scope):
        w_OC11 = parameter("W", (out, inside, 1, 1), uniform)
        b_O = parameter("b", (out,), uniform)
    return affine(x_NC, F.reshape(w_OC11, (out, inside)), b_O)


def _attention(x_NCXX: nn.Variable, normalised: bool) -> nn.Variable:
    """Self-attention of all places."""
    n, channels, side, _ = x_NCXX.shape
    x_NLC = F.reshape(channels_last(x_NCXX), (n, side * side, channels))
    if normalised:
        x_NLC = layer_norm(x_NLC, "ln", EPS)
    with nn.parameter_scope("attn"):
        y = attention(x_NLC, channels // HEAD, rows=every_row, mask=None, init=(None, _small()))
    return channels_first(F.reshape(y, (n, side, side, channels)))
