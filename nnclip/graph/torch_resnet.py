"""torchvision's residual networks ResNet18, 34 and 50, without their classifier.

Features are the global average of the last stage: 512, 512 and 2048 numbers. Names are torch's
below `visual`, see `graph.resnet` and `graph.convolution`.

Axes: N batch, R resolution, C channels, X places along a side, E features.

Source: https://github.com/pytorch/vision, torchvision/models/resnet.py.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from nnclip.graph.convolution import batch_norm, convolution
from nnclip.graph.positions import GridPositions
from nnclip.graph.reading import Reader, option_metadata
from nnclip.graph.resnet import EXPANSION, SHRINKS, describe_stages, stage_layers, stages
from nnclip.image import Preprocess
from nnclip.nnabla import F, NormalInitializer, nn

# of images that these networks were trained with
IMAGENET = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
WIDTH = 64  # channels that leave the stem


@dataclass(frozen=True)
class ResNetConfig:
    """A residual network that ends in a global average.

    Attributes:
        preprocess: how images are prepared; the tensors fit any resolution.
        layers: blocks in each of the four stages.
        bottleneck: whether blocks have three convolutions (ResNet50) or two (ResNet18, 34).
    """

    preprocess: Preprocess
    layers: tuple[int, int, int, int]
    bottleneck: bool

    side: ClassVar[Literal["image"]] = "image"
    kind: ClassVar[str] = "residual network"
    stride: ClassVar[int] = SHRINKS
    whole_strides: ClassVar[bool] = False
    positions: ClassVar[GridPositions | None] = None

    @property
    def resolution(self) -> int:
        """Pixels along a side."""
        return self.preprocess.resolution

    @property
    def features(self) -> int:
        """Width of the features."""
        return 8 * WIDTH * (EXPANSION if self.bottleneck else 1)

    @classmethod
    def read(cls, reader: Reader) -> "tuple[ResNetConfig, int] | None":
        """The tower of these tensors; None unless it has stages after a single convolution."""
        shapes = reader.shapes
        if "visual/layer1/0/conv1/W" not in shapes or "visual/conv2/W" in shapes:
            return None
        reader.shape("visual/conv1/W", 4)
        config = cls(
            preprocess=reader.preprocess(IMAGENET, 1),
            layers=stage_layers(reader),
            bottleneck="visual/layer1/0/conv3/W" in shapes,
            **reader.options(cls),
        )
        return config, config.features

    def metadata(self) -> dict[str, Any]:
        """What a file must say beside its tensors for `read` to find this tower again."""
        return {
            **self.preprocess.metadata(),
            **option_metadata(self),
        }

    def describe(self) -> str:
        """The kind and the sizes."""
        return (
            f"{self.kind}: {describe_stages(self.layers)}, {self.features} features, "
            f"{self.resolution} pixels"
        )

    def build(
        self,
        images_N3RR: nn.Variable,
        width: int,
        hidden: list[nn.Variable] | None = None,
        trained_statistics: bool = False,
    ) -> nn.Variable:
        """See `ImageTower`."""
        return torch_resnet(images_N3RR, self, hidden, trained_statistics)


# The sizes of multilingual and low-resource CLIPs with frozen encoders.
TORCH_RESNETS = {
    "resnet18": ResNetConfig(IMAGENET, (2, 2, 2, 2), False),
    "resnet34": ResNetConfig(IMAGENET, (3, 4, 6, 3), False),
    "resnet50": ResNetConfig(IMAGENET, (3, 4, 6, 3), True),
}


def torch_resnet(
    images_N3RR: nn.Variable,
    config: ResNetConfig,
    hidden: list[nn.Variable] | None = None,
    trained_statistics: bool = False,
) -> nn.Variable:
    """Features of images, under the scope `visual`.

    Args:
        images_N3RR: float, normalised with the configuration's mean and std.
        config: the tower.
        hidden: where given, the output of each stage is appended to it, (N, C, X, X).
        trained_statistics: normalise with the statistics of the batch, see `batch_norm`.

    Returns: features_NE, not normalised.
    """
    block = _bottleneck if config.bottleneck else _basic_block
    with nn.parameter_scope("visual"):
        x = F.relu(_normalised(images_N3RR, WIDTH, 7, "conv1", "bn1", 2, trained_statistics))
        x = F.max_pooling(x, (3, 3), (2, 2), pad=(1, 1))
        x = stages(x, config.layers, WIDTH, block, trained_statistics, hidden)
        return F.mean(x, axis=(2, 3))  # NNabla has no global pooling for GPUs


def _normalised(
    x: nn.Variable, out: int, kernel: int, conv: str, norm: str, stride: int, trained: bool
) -> nn.Variable:
    """A convolution, initialised as torchvision does, and its batch normalisation."""
    scaled = NormalInitializer(math.sqrt(2 / (out * kernel * kernel)))
    return batch_norm(convolution(x, out, kernel, conv, stride, scaled), norm, trained)


def _shortcut(x: nn.Variable, out: int, stride: int, trained: bool) -> nn.Variable:
    if stride == 1 and x.shape[1] == out:
        return x
    return _normalised(x, out, 1, "downsample/0", "downsample/1", stride, trained)


def _basic_block(x: nn.Variable, inside: int, stride: int, trained: bool) -> nn.Variable:
    y = F.relu(_normalised(x, inside, 3, "conv1", "bn1", stride, trained))
    y = _normalised(y, inside, 3, "conv2", "bn2", 1, trained)
    return F.relu(y + _shortcut(x, inside, stride, trained))


def _bottleneck(x: nn.Variable, inside: int, stride: int, trained: bool) -> nn.Variable:
    outside = EXPANSION * inside
    y = F.relu(_normalised(x, inside, 1, "conv1", "bn1", 1, trained))
    y = F.relu(_normalised(y, inside, 3, "conv2", "bn2", stride, trained))
    y = _normalised(y, outside, 1, "conv3", "bn3", 1, trained)
    return F.relu(y + _shortcut(x, outside, stride, trained))
