"""ConvNeXt: a residual network of depthwise convolutions and MLPs, normalised over channels.

Names are timm's below `visual`: stem/{0,1}, stages/0/downsample/{0,1},
stages/0/blocks/0/{conv_dw,norm,mlp/fc1,mlp/fc2,gamma}, norm; then proj, or head/{c_fc,proj}.

Axes: N batch, R resolution, C channels, X places along a side, E embedding.

Source: Liu et al., A ConvNet for the 2020s (2022), figure 4; timm/models/convnext.py.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from nnclip.graph.convolution import channel_norm, channels_first, channels_last, convolution
from nnclip.graph.layers import ZERO, gelu, layer_norm, linear, parameter, projected
from nnclip.graph.positions import GridPositions
from nnclip.graph.reading import Reader, option_metadata
from nnclip.graph.resnet import SHRINKS, describe_stages
from nnclip.image import Preprocess
from nnclip.nnabla import ConstantInitializer, F, NormalInitializer, nn

EPS = 1e-6  # of most published towers
EXPANSION = 4  # width of a block's MLP, in multiples of its channels
SMALL = ConstantInitializer(1e-6)  # of `gamma`: each block begins as the identity
SPREAD = 0.02  # standard deviation of fresh matrices


@dataclass(frozen=True)
class ConvNextConfig:
    """A ConvNeXt of four stages.

    Attributes:
        preprocess: how images are prepared; to any multiple of 32 pixels.
        layers: blocks in each stage.
        widths: channels in each stage.
        projection: "matrix" (C, E), or "mlp" with 2E units before it.
        eps: of every layer normalisation.
    """

    preprocess: Preprocess
    layers: tuple[int, ...]
    widths: tuple[int, ...]
    projection: str = "matrix"
    eps: float = EPS

    side: ClassVar[Literal["image"]] = "image"
    kind: ClassVar[str] = "ConvNeXt"
    stride: ClassVar[int] = SHRINKS
    whole_strides: ClassVar[bool] = True
    positions: ClassVar[GridPositions | None] = None

    @property
    def resolution(self) -> int:
        """Pixels along a side."""
        return self.preprocess.resolution

    @classmethod
    def read(cls, reader: Reader) -> "tuple[ConvNextConfig, int] | None":
        """The tower of these tensors; None without a depthwise convolution in its first block."""
        if not reader.has("visual/stages/0/blocks/0/conv_dw/"):
            return None
        stages = range(reader.numbers_in("visual/stages/"))
        mlp = reader.has("visual/head/")
        config = cls(
            preprocess=reader.preprocess(Preprocess(), SHRINKS),
            # a gap in the numbers shows as tensors missing and left over
            layers=tuple(reader.numbers_in(f"visual/stages/{s}/blocks/") for s in stages),
            widths=tuple(
                reader.shape(f"visual/stages/{s}/blocks/0/conv_dw/W", 4)[0] for s in stages
            ),
            projection="mlp" if mlp else "matrix",
            eps=reader.number("layer_norm_eps", EPS, 0),
            **reader.options(cls),
        )
        return config, reader.shape("visual/head/proj" if mlp else "visual/proj", 2)[1]

    def metadata(self) -> dict[str, Any]:
        """What a file must say beside its tensors for `read` to find this tower again."""
        return {
            "layer_norm_eps": self.eps,
            **self.preprocess.metadata(),
            **option_metadata(self),
        }

    def describe(self) -> str:
        """The kind and the sizes."""
        return (
            f"{self.kind}: {describe_stages(self.layers)}, "
            f"{' + '.join(map(str, self.widths))} channels, eps {self.eps:g}, "
            f"{self.resolution} pixels"
        )

    def build(
        self,
        images_N3RR: nn.Variable,
        width: int,
        hidden: list[nn.Variable] | None = None,
        trained_statistics: bool = False,
    ) -> nn.Variable:
        """See `ImageTower`; it has no batch normalisations. `hidden` takes (N, C, X, X)."""
        with nn.parameter_scope("visual"):
            x = convolution(images_N3RR, self.widths[0], 4, "stem/0", 4, _spread(), bias=True)
            x = channel_norm(x, "stem/1", self.eps)
            for s in range(len(self.layers)):
                with nn.parameter_scope(f"stages/{s}"):
                    x = _stage(x, self, s)
                if hidden is not None:
                    hidden.append(x)
            features_NC = layer_norm(F.mean(x, axis=(2, 3)), "norm", self.eps)
            name = "head" if self.projection == "mlp" else "proj"
            return projected(features_NC, width, self.projection, name)


def _spread() -> NormalInitializer:
    """Made again for each parameter: an initialiser keeps the random numbers of its making."""
    return NormalInitializer(SPREAD)


def _stage(x_NCXX: nn.Variable, config: ConvNextConfig, s: int) -> nn.Variable:
    """Half the places, from the second stage on; then the blocks."""
    if s > 0:
        x_NCXX = channel_norm(x_NCXX, "downsample/0", config.eps)
        x_NCXX = convolution(x_NCXX, config.widths[s], 2, "downsample/1", 2, _spread(), bias=True)
    for i in range(config.layers[s]):
        with nn.parameter_scope(f"blocks/{i}"):
            x_NCXX = _block(x_NCXX, config.eps)
    return x_NCXX


def _block(x_NCXX: nn.Variable, eps: float) -> nn.Variable:
    channels = x_NCXX.shape[1]
    y = convolution(x_NCXX, channels, 7, "conv_dw", 1, _spread(), groups=channels, bias=True)
    y = layer_norm(channels_last(y), "norm", eps)
    y = gelu(linear(y, EXPANSION * channels, "mlp/fc1", _spread(), ZERO))
    y = linear(y, channels, "mlp/fc2", _spread(), ZERO)
    gamma_C = parameter("gamma", (channels,), SMALL)
    return x_NCXX + channels_first(y * F.reshape(gamma_C, (1, 1, 1, channels)))
