"""NNabla's functions, as far as towers use them: shapes and arguments as NNabla has them.

A new function is one `def` here; tests/nnabla compares each with NNabla's own.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnclip.nnabla.recorder import variable
from nnclip.nnabla.recorder.variable import Compute, Function, Shape, Variable, record


def _float(value: float) -> float:
    """A number as NNabla keeps it: rounded to float32."""
    return float(np.float32(value))


# Functions that move values about; `x[...]` needs the first two, so they lie beside Variable

reshape, slice = variable.reshape, variable.sliced


def transpose(x: Variable, axes: Sequence[int]) -> Variable:
    """The axes in another order."""
    shape = tuple(x.shape[a] for a in axes)
    return record("Transpose", {"axes": list(axes)}, [x], shape, lambda a: a.transpose(axes))


def split(x: Variable, axis: int = 0) -> list[Variable]:
    """One Variable for each position of an axis."""
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    shapes = [shape] * x.shape[axis]
    args = {"axis": axis}
    return Function("Split", args, [x], shapes, lambda a: list(np.moveaxis(a, axis, 0))).outputs


def stack(*x: Variable, axis: int = 0) -> Variable:
    """Variables of one shape along a new axis."""
    shape = (*x[0].shape[:axis], len(x), *x[0].shape[axis:])
    return record("Stack", {"axis": axis}, x, shape, lambda *a: np.stack(a, axis))


def concatenate(*x: Variable, axis: int | None = None) -> Variable:
    """Variables one after the other along an axis, the last one if it is not told."""
    at = x[0].ndim - 1 if axis is None else axis
    at = at + x[0].ndim if at < 0 else at
    length = builtins.sum(v.shape[at] for v in x)
    shape = (*x[0].shape[:at], length, *x[0].shape[at + 1 :])
    return record("Concatenate", {"axis": at}, x, shape, lambda *a: np.concatenate(a, at))


def pad(
    x: Variable, pad_width: Sequence[int], mode: str = "constant", constant_value: float = 0
) -> Variable:
    """More values before and after the last axes: two numbers of `pad_width` each."""
    pairs = list(zip(pad_width[::2], pad_width[1::2], strict=True))
    pairs = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    shape = tuple(n + a + b for n, (a, b) in zip(x.shape, pairs, strict=True))
    value = _float(constant_value)
    args = {"pad_width": list(pad_width), "mode": mode, "constant_value": value}
    compute = None
    if mode == "constant":
        compute = lambda a: np.pad(a, pairs, constant_values=value)  # noqa: E731
    return record("Pad", args, [x], shape, compute)


def broadcast(x: Variable, shape: Sequence[int]) -> Variable:
    """Axes of length 1 repeated."""
    args = {"shape": list(shape)}
    return record("Broadcast", args, [x], tuple(shape), lambda a: np.broadcast_to(a, shape))


# Products and look-ups


def batch_matmul(
    a: Variable, b: Variable, transpose_a: bool = False, transpose_b: bool = False
) -> Variable:
    """Matrix products over all but the last two axes."""
    rows, inner = a.shape[-2:][::-1] if transpose_a else a.shape[-2:]
    other, columns = b.shape[-2:][::-1] if transpose_b else b.shape[-2:]
    if inner != other or min(a.ndim, b.ndim) < 3:
        raise ValueError(f"batch_matmul: found shapes {a.shape} and {b.shape}, which do not fit")
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), rows, columns)
    args = {"transpose_a": transpose_a, "transpose_b": transpose_b}

    def compute(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x = x.swapaxes(-1, -2) if transpose_a else x
        return x @ (y.swapaxes(-1, -2) if transpose_b else y)

    return record("BatchMatmul", args, [a, b], shape, compute)


def embed(x: Variable, w: Variable) -> Variable:
    """Rows of a table."""
    return record("Embed", {}, [x, w], (*x.shape, *w.shape[1:]))


def convolution(
    x: Variable,
    weight: Variable,
    bias: Variable | None = None,
    base_axis: int = 1,
    pad: Sequence[int] | None = None,
    stride: Sequence[int] | None = None,
    dilation: Sequence[int] | None = None,
    group: int = 1,
    channel_last: bool = False,
) -> Variable:
    """A convolution over the axes behind the channels (N, C, H, W)."""
    args, places = _window(x, weight.shape[2:], base_axis, pad, stride, dilation)
    args |= {"group": group, "channel_last": channel_last}
    shape = (*x.shape[:base_axis], weight.shape[0], *places)
    return record("Convolution", args, [x, weight, *([bias] if bias else [])], shape)


def depthwise_convolution(
    x: Variable,
    weight: Variable,
    bias: Variable | None = None,
    base_axis: int = 1,
    pad: Sequence[int] | None = None,
    stride: Sequence[int] | None = None,
    dilation: Sequence[int] | None = None,
    multiplier: int = 1,
) -> Variable:
    """A convolution of every channel alone, by `multiplier` kernels."""
    args, places = _window(x, weight.shape[1:], base_axis, pad, stride, dilation)
    args["multiplier"] = multiplier
    shape = (*x.shape[:base_axis], weight.shape[0], *places)
    return record("DepthwiseConvolution", args, [x, weight, *([bias] if bias else [])], shape)


def _window(
    x: Variable,
    kernel: Shape,
    base_axis: int,
    pad: Sequence[int] | None,
    stride: Sequence[int] | None,
    dilation: Sequence[int] | None,
) -> tuple[dict[str, Any], list[int]]:
    """The arguments that convolutions share, and how many places a kernel has along each axis."""
    zeros, ones = [0] * len(kernel), [1] * len(kernel)
    args: dict[str, Any] = {
        "base_axis": base_axis,
        "pad": list(pad or zeros),
        "stride": list(stride or ones),
        "dilation": list(dilation or ones),
    }
    across = zip(
        x.shape[base_axis + 1 :], kernel, args["pad"], args["stride"], args["dilation"], strict=True
    )
    return args, [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, p, s, d in across]


def average_pooling(
    x: Variable,
    kernel: Sequence[int],
    stride: Sequence[int] | None = None,
    ignore_border: bool = True,
    pad: Sequence[int] | None = None,
    channel_last: bool = False,
    including_pad: bool = True,
) -> Variable:
    """The mean of each window."""
    args, shape = _pooling(x, kernel, stride, ignore_border, pad, channel_last)
    return record("AveragePooling", args | {"including_pad": including_pad}, [x], shape)


def max_pooling(
    x: Variable,
    kernel: Sequence[int],
    stride: Sequence[int] | None = None,
    ignore_border: bool = True,
    pad: Sequence[int] | None = None,
    channel_last: bool = False,
) -> Variable:
    """The greatest value of each window."""
    args, shape = _pooling(x, kernel, stride, ignore_border, pad, channel_last)
    return record("MaxPooling", args, [x], shape)


def _pooling(
    x: Variable,
    kernel: Sequence[int],
    stride: Sequence[int] | None,
    ignore_border: bool,
    pad: Sequence[int] | None,
    channel_last: bool,
) -> tuple[dict[str, Any], Shape]:
    args: dict[str, Any] = {
        "kernel": list(kernel),
        "stride": list(stride or kernel),
        "ignore_border": ignore_border,
        "pad": list(pad or [0] * len(kernel)),
        "channel_last": channel_last,
    }
    first = x.ndim - len(kernel)
    places = []
    for n, k, p, s in zip(x.shape[first:], kernel, args["pad"], args["stride"], strict=True):
        spare = n + 2 * p - k
        places.append((spare if ignore_border else spare + s - 1) // s + 1)
    return args, (*x.shape[:first], *places)


# Functions of single values


def _unary(kind: str, compute: Compute | None = None, **args: Any) -> Any:
    def function(x: Variable) -> Variable:
        return record(kind, dict(args), [x], x.shape, compute)

    function.__doc__ = f"NNabla's {kind}, value by value."
    return function


def _with_number(kind: str, compute: Any) -> Any:
    def function(x: Variable, val: float = 1) -> Variable:
        number = np.float32(val)
        return record(kind, {"val": float(val)}, [x], x.shape, lambda a: compute(a, number))

    function.__doc__ = f"NNabla's {kind}: each value and one number."
    return function


def greater_equal(x: Variable, y: Variable) -> Variable:
    """1 where a value of `x` is at least that of `y`, else 0."""
    shape = np.broadcast_shapes(x.shape, y.shape)
    return record("GreaterEqual", {}, [x, y], shape, lambda a, b: (a >= b).astype(np.float32))


greater_scalar = _with_number("GreaterScalar", lambda a, n: (a > n).astype(np.float32))
maximum_scalar = _with_number("MaximumScalar", np.maximum)
minimum_scalar = _with_number("MinimumScalar", np.minimum)
r_div_scalar = _with_number("RDivScalar", variable.ARITHMETIC["RDivScalar"])

abs = _unary("Abs", np.abs)
erf = _unary("Erf")
exp = _unary("Exp", np.exp)
log = _unary("Log", np.log)
gelu = _unary("GELU")
relu = _unary("ReLU", inplace=False)
sigmoid = _unary("Sigmoid")
swish = _unary("Swish")
tanh = _unary("Tanh", np.tanh)


# Functions over axes


def softmax(x: Variable, axis: int | None = None) -> Variable:
    """Shares that sum to 1 along an axis, the last one if it is not told."""
    return record("Softmax", {"axis": x.ndim - 1 if axis is None else axis}, [x], x.shape)


def mean(x: Variable, axis: Any = None, keepdims: bool = False) -> Variable:
    """The mean over axes, all if none is told."""
    return _reduce("Mean", np.mean, x, axis, keepdims)


def sum(x: Variable, axis: Any = None, keepdims: bool = False) -> Variable:
    """The sum over axes, all if none is told."""
    return _reduce("Sum", np.sum, x, axis, keepdims)


def _reduce(kind: str, of: Any, x: Variable, axis: Any, keepdims: bool) -> Variable:
    axes = list(range(x.ndim)) if axis is None else [axis] if isinstance(axis, int) else list(axis)
    gone = {a % x.ndim for a in axes}
    kept = [1 if i in gone else n for i, n in enumerate(x.shape) if keepdims or i not in gone]
    args = {"axes": axes, "keep_dims": keepdims}
    return record(
        kind, args, [x], tuple(kept), lambda a: of(a, axis=tuple(axes), keepdims=keepdims)
    )


def layer_normalization(
    x: Variable, beta: Variable, gamma: Variable, batch_axis: Any = 0, eps: float = 1e-5
) -> Variable:
    """Layer normalisation over all axes but those of `batch_axis`."""
    axes = [batch_axis] if isinstance(batch_axis, int) else list(batch_axis)
    args = {"batch_axis": axes, "eps": _float(eps), "no_scale": False, "no_bias": False}
    return record("LayerNormalization", args, [x, beta, gamma], x.shape)


def batch_normalization(
    x: Variable,
    beta: Variable,
    gamma: Variable,
    mean: Variable,
    variance: Variable,
    axes: Sequence[int] = (1,),
    decay_rate: float = 0.9,
    eps: float = 1e-5,
    batch_stat: bool = True,
) -> Variable:
    """Batch normalisation along `axes`."""
    args = {
        "axes": list(axes),
        "decay_rate": _float(decay_rate),
        "eps": _float(eps),
        "batch_stat": batch_stat,
        "no_scale": False,
        "no_bias": False,
    }
    return record("BatchNormalization", args, [x, beta, gamma, mean, variance], x.shape)
