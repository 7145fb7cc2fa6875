"""Layers of convolutional networks: convolutions, normalisations, pooling.

A batch normalisation has four parameters: the gain W, the bias b, and the statistics running_mean
and running_var (C,), which no solver moves (`need_grad` is off). Read from the file they are
frozen, and the layer is one multiplication and one addition that a compiler folds into the
convolution before it. Trained, the layer takes the statistics of its batch and moves the running
ones by a tenth of the way, as torch does with momentum 0.1: NNabla calls this a decay rate of 0.9.
Both normalise with the biased variance of the batch and keep the unbiased one.

Axes: N batch, C channels, O output channels, X pixels along a side, K pixels along a filter.
"""

import math

from nnclip.graph.layers import ONE, ZERO, layer_norm, parameter
from nnclip.nnabla import BaseInitializer, F, UniformInitializer, nn

EPS = 1e-5  # torch's default, which no published tower changes
DECAY = 0.9  # 1 - torch's momentum
STATISTICS = ("running_mean", "running_var")


def is_statistic(name: str) -> bool:
    """Whether the parameter of this full name is a running statistic, which no solver moves."""
    return name.rpartition("/")[2] in STATISTICS


def convolution(
    x_NCXX: nn.Variable,
    out: int,
    kernel: int,
    scope: str,
    stride: int = 1,
    init: BaseInitializer | None = None,
    *,
    groups: int = 1,
    bias: bool = False,
) -> nn.Variable:
    """A convolution with the parameter `scope`/W (O, C / groups, K, K).

    Args:
        x_NCXX: what is convolved. A filter of odd width is padded by half of it; one of even width
            cuts patches, and is not.
        out: O.
        kernel: K, pixels.
        scope: of the parameters.
        stride: pixels.
        init: of W; None for torch's own.
        groups: of channels that are convolved alone; C for a depthwise convolution.
        bias: whether there is `scope`/b (O,) too.
    """
    inside = x_NCXX.shape[1] // groups
    bound = 1 / math.sqrt(inside * kernel * kernel)  # torch's own initialisation
    uniform = UniformInitializer((-bound, bound))
    with nn.parameter_scope(scope):
        w_OCKK = parameter("W", (out, inside, kernel, kernel), init or uniform)
        b_O = parameter("b", (out,), uniform) if bias else None
    pad = kernel // 2 if kernel % 2 else 0
    return F.convolution(x_NCXX, w_OCKK, b_O, pad=(pad, pad), stride=(stride, stride), group=groups)


def channels_last(x_NCXX: nn.Variable) -> nn.Variable:
    """(N, C, X, X) -> (N, X, X, C), as layers of `graph.layers` want it."""
    return F.transpose(x_NCXX, (0, 2, 3, 1))


def channels_first(x_NXXC: nn.Variable) -> nn.Variable:
    """(N, X, X, C) -> (N, C, X, X), as convolutions want it."""
    return F.transpose(x_NXXC, (0, 3, 1, 2))


def channel_norm(x_NCXX: nn.Variable, scope: str, eps: float) -> nn.Variable:
    """Layer normalisation of each place over its channels."""
    return channels_first(layer_norm(channels_last(x_NCXX), scope, eps))


def batch_norm(
    x_NCXX: nn.Variable, scope: str, trained: bool, gain: BaseInitializer = ONE
) -> nn.Variable:
    """Batch normalisation with the parameters `scope`/{W, b, running_mean, running_var} (C,).

    Args:
        x_NCXX: what is normalised, channel by channel.
        scope: of the parameters.
        trained: normalise with the statistics of this batch, and move the running ones along;
            otherwise normalise with the running ones, which stay.
        gain: initialiser of W.
    """
    channels = x_NCXX.shape[1]
    shape = (1, channels, 1, 1)
    with nn.parameter_scope(scope):
        w_C, b_C = parameter("W", (channels,), gain), parameter("b", (channels,), ZERO)
        statistics = [
            parameter(name, (channels,), init, learned=False)
            for name, init in zip(STATISTICS, (ZERO, ONE), strict=True)
        ]
    # Statistics that move must be Variables which nothing computes: views of the same memory.
    mean, variance = (
        v.reshape(shape, unlink=True) if trained else F.reshape(v, shape) for v in statistics
    )
    return F.batch_normalization(
        x_NCXX,
        F.reshape(b_C, shape),
        F.reshape(w_C, shape),
        mean,
        variance,
        axes=[1],
        decay_rate=DECAY,
        eps=EPS,
        batch_stat=trained,
    )


def average_pool(x_NCXX: nn.Variable, size: int) -> nn.Variable:
    """The mean of every square of `size` pixels; incomplete squares at the edge are left out."""
    return F.average_pooling(x_NCXX, (size, size)) if size > 1 else x_NCXX
