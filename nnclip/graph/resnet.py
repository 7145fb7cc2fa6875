"""CLIP's residual networks: RN50, RN101, RN50x4, RN50x16, RN50x64.

They differ from the usual ones in three ways: the stem has three convolutions instead of one; a
stride is an average pooling before a convolution, so that nothing is skipped; and the last average
is an attention pooling, in which the mean asks all places.

Names are torch's below `visual`: conv1/W, bn1/{W,b,running_mean,running_var}, ..., layer1/0/...,
attnpool/{positional_embedding,{q,k,v,c}_proj/{W,b}}; see `graph.convolution` for the statistics.

Axes: N batch, R resolution, C channels, X places along a side, L = 1 + X * X tokens, D channels
of the last stage, H heads, K width of a head, E embedding.

Source: https://github.com/openai/CLIP, clip/model.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from nnclip.errors import CheckpointError
from nnclip.graph.convolution import average_pool, batch_norm, convolution
from nnclip.graph.layers import ONE, ZERO, linear, parameter
from nnclip.graph.positions import GridPositions
from nnclip.graph.reading import Reader, option_metadata
from nnclip.graph.watching import watched
from nnclip.image import Preprocess
from nnclip.nnabla import F, NormalInitializer, UniformInitializer, nn

EXPANSION = 4  # channels that leave a block, in multiples of those inside
SHRINKS = 32  # pixels of the image along a side of one place
POSITIONS = "visual/attnpool/positional_embedding"


@dataclass(frozen=True)
class ClipResNetConfig:
    """A residual network with attention pooling.

    Attributes:
        preprocess: how images are prepared; to a multiple of 32 pixels.
        layers: blocks in each of the four stages.
        width: channels that leave the stem, 64 in RN50.
        heads: of the attention pooling.
    """

    preprocess: Preprocess
    layers: tuple[int, int, int, int]
    width: int
    heads: int

    side: ClassVar[Literal["image"]] = "image"
    kind: ClassVar[str] = "residual network with attention pooling"
    stride: ClassVar[int] = SHRINKS
    whole_strides: ClassVar[bool] = True
    positions: ClassVar[GridPositions] = GridPositions(POSITIONS, before=1)

    @property
    def resolution(self) -> int:
        """Pixels along a side."""
        return self.preprocess.resolution

    @property
    def tokens(self) -> int:
        """Number of places that the attention pooling sees, plus their mean."""
        return (self.resolution // SHRINKS) ** 2 + 1

    @property
    def channels(self) -> int:
        """Of the last stage."""
        return 8 * EXPANSION * self.width

    @classmethod
    def read(cls, reader: Reader) -> "tuple[ClipResNetConfig, int] | None":
        """The tower of these tensors; None without the third convolution of its stem."""
        if "visual/conv3/W" not in reader.shapes:
            return None
        tokens, channels = reader.shape(POSITIONS, 2)
        grid = round((tokens - 1) ** 0.5)
        if grid * grid + 1 != tokens:
            raise CheckpointError(
                f"tensor {POSITIONS}: found {tokens} tokens, expected one more than a square"
            )
        preprocess = reader.preprocess(Preprocess(grid * SHRINKS), SHRINKS)
        if preprocess.resolution != grid * SHRINKS:
            raise CheckpointError(
                f"metadata resolution: found {preprocess.resolution}, expected {grid * SHRINKS}, "
                f"as many pixels as {tokens} tokens see"
            )
        heads = reader.integer("image_heads", max(channels // 64, 1), 1)
        if channels % heads:
            raise CheckpointError(
                f"metadata image_heads: found {heads}, expected a divisor of the width {channels}"
            )
        config = cls(
            preprocess=preprocess,
            layers=stage_layers(reader),
            width=reader.shape("visual/conv3/W", 4)[0],
            heads=heads,
            **reader.options(cls),
        )
        return config, reader.shape("visual/attnpool/c_proj/W", 2)[0]

    def metadata(self) -> dict[str, Any]:
        """What a file must say beside its tensors for `read` to find this tower again."""
        return {
            "image_heads": self.heads,
            **self.preprocess.metadata(),
            **option_metadata(self),
        }

    def describe(self) -> str:
        """The kind and the sizes."""
        return (
            f"{self.kind}: {describe_stages(self.layers)}, {self.width} channels after the stem, "
            f"{self.heads} heads, {self.resolution} pixels"
        )

    def build(
        self,
        images_N3RR: nn.Variable,
        width: int,
        hidden: list[nn.Variable] | None = None,
        trained_statistics: bool = False,
    ) -> nn.Variable:
        """See `ImageTower`."""
        return clip_resnet(images_N3RR, self, width, hidden, trained_statistics)


def stage_layers(reader: Reader) -> tuple[int, int, int, int]:
    """The number of blocks in each stage; a gap shows as tensors missing and left over."""
    one, two, three, four = (reader.numbers_in(f"visual/layer{i}/") for i in (1, 2, 3, 4))
    return one, two, three, four


def describe_stages(layers: tuple[int, ...]) -> str:
    """The number of blocks in each stage, in words."""
    return f"stages of {', '.join(map(str, layers))} residual blocks"


def clip_resnet(
    images_N3RR: nn.Variable,
    config: ClipResNetConfig,
    embed: int,
    hidden: list[nn.Variable] | None = None,
    trained_statistics: bool = False,
) -> nn.Variable:
    """Features of images, under the scope `visual`.

    Args:
        images_N3RR: float, normalised with the configuration's mean and std.
        config: the tower.
        embed: width of the features.
        hidden: where given, the output of each stage is appended to it, (N, C, X, X).
        trained_statistics: normalise with the statistics of the batch, see `batch_norm`.

    Returns: features_NE, not normalised.
    """
    with nn.parameter_scope("visual"):
        x = _stem(images_N3RR, config.width, trained_statistics)
        x = stages(x, config.layers, config.width, _block, trained_statistics, hidden)
        with nn.parameter_scope("attnpool"):
            return attention_pool(x, config.heads, embed)


def _stem(x: nn.Variable, width: int, trained: bool) -> nn.Variable:
    """(N, 3, R, R) -> (N, width, R / 4, R / 4)."""
    for i, (out, stride) in enumerate(((width // 2, 2), (width // 2, 1), (width, 1)), start=1):
        x = F.relu(batch_norm(convolution(x, out, 3, f"conv{i}", stride), f"bn{i}", trained))
    return average_pool(x, 2)


Block = Callable[[nn.Variable, int, int, bool], nn.Variable]  # input, channels inside, stride


def stages(
    x: nn.Variable,
    layers: tuple[int, int, int, int],
    width: int,
    block: Block,
    trained: bool,
    hidden: list[nn.Variable] | None,
) -> nn.Variable:
    """The four stages of a residual network: each but the first halves the image's sides."""
    for i, count in enumerate(layers):
        for j in range(count):
            with nn.parameter_scope(f"layer{i + 1}/{j}"):
                x = block(x, width * 2**i, 2 if i and not j else 1, trained)
        if hidden is not None:
            hidden.append(x)
    return x


def _block(x: nn.Variable, inside: int, stride: int, trained: bool) -> nn.Variable:
    """Three convolutions beside a shortcut; a stride is an average in both."""
    outside = EXPANSION * inside
    y = F.relu(batch_norm(convolution(x, inside, 1, "conv1"), "bn1", trained))
    y = F.relu(batch_norm(convolution(y, inside, 3, "conv2"), "bn2", trained))
    y = convolution(average_pool(y, stride), outside, 1, "conv3")
    y = batch_norm(y, "bn3", trained, gain=ZERO)  # so that each block begins as its shortcut
    if stride > 1 or x.shape[1] != outside:
        x = convolution(average_pool(x, stride), outside, 1, "downsample/0")
        x = batch_norm(x, "downsample/1", trained, gain=ONE)
    return F.relu(x + y)


def attention_pool(x_NDXX: nn.Variable, heads: int, embed: int) -> nn.Variable:
    """One attention layer in which the mean of all places asks the places and itself.

    Exact, and cheap as there is one question per image: instead of turning all tokens into keys
    and values, the question is turned by the keys' matrix, and the values' matrix is applied to
    the weighted mean of the tokens. The bias of the keys adds the same to all scores of a head,
    so it changes nothing; it is kept because files have it.
    """
    n, width = x_NDXX.shape[:2]
    k, init = width // heads, NormalInitializer(width**-0.5)
    places_NDT = F.reshape(x_NDXX, (n, width, -1))
    x_NDL = F.concatenate(F.mean(places_NDT, axis=2, keepdims=True), places_NDT, axis=2)
    tokens = x_NDL.shape[2]
    position_LD = parameter("positional_embedding", (tokens, width), init)
    x_NDL = x_NDL + F.reshape(F.transpose(position_LD, (1, 0)), (1, width, tokens))
    (wk_HKD, _), (wv_HKD, bv_D) = (_projection(s, width, heads) for s in ("k_proj", "v_proj"))
    q_ND = linear(F.reshape(x_NDL[:, :, :1], (n, width)), width, "q_proj", init) * k**-0.5
    q_HNK = F.transpose(F.reshape(q_ND, (n, heads, k)), (1, 0, 2))
    q_HND = F.batch_matmul(q_HNK, wk_HKD)
    scores_NHL = F.batch_matmul(F.transpose(q_HND, (1, 0, 2)), x_NDL)
    weights_NHL = watched("pool", F.softmax(scores_NHL, axis=2))
    seen_NHD = F.batch_matmul(weights_NHL, x_NDL, transpose_b=True)
    seen_HND = F.transpose(seen_NHD, (1, 0, 2))
    v_HNK = F.batch_matmul(seen_HND, wv_HKD, transpose_b=True)
    v_ND = F.reshape(F.transpose(v_HNK, (1, 0, 2)), (n, width)) + F.reshape(bv_D, (1, width))
    return linear(v_ND, embed, "c_proj", init)


def _projection(scope: str, width: int, heads: int) -> tuple[nn.Variable, nn.Variable]:
    """The matrix of keys or values, head by head, and its bias."""
    scaled, bound = NormalInitializer(width**-0.5), width**-0.5
    with nn.parameter_scope(scope):
        w_DD = parameter("W", (width, width), scaled)
        b_D = parameter("b", (width,), UniformInitializer((-bound, bound)))
    return F.reshape(w_DD, (heads, width // heads, width)), b_D
