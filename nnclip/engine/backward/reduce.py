"""Backward rules of sums, softmax and normalisation."""

from __future__ import annotations

import math

import numpy as np
from openvino import Output
from openvino import opset15 as op

from nnclip.engine.backward.reverse import (
    BackwardRule,
    Gradients,
    Reverse,
    sum_to,
    to_shape,
)
from nnclip.engine.emit import as_float, as_index, axes_of, constant, integers


def _sum(r: Reverse) -> Gradients:
    return [_spread(r, 1.0)]


def _mean(r: Reverse) -> Gradients:
    count = math.prod(r.call.in_shapes[0]) / math.prod(r.call.out_shapes[0])
    return [_spread(r, 1.0 / count)]


def _spread(r: Reverse, factor: float) -> Output:
    """Give every value that went into a sum the gradient of the sum."""
    shape = r.call.in_shapes[0]
    axes = axes_of(r.call.args["axes"], len(shape))
    dy = to_shape(r.dy, [1 if i in axes else n for i, n in enumerate(shape)])
    if factor != 1.0:
        dy = op.multiply(dy, constant(factor, np.float32)).output(0)
    return op.broadcast(dy, integers(shape)).output(0)


def _softmax(r: Reverse) -> Gradients:
    axis = axes_of(r.call.args["axis"], len(r.call.in_shapes[0]))[0]
    y = r.results[0]
    weighted = op.multiply(r.dy, y)
    total = op.reduce_sum(weighted, integers([axis]), True)
    return [op.subtract(weighted, op.multiply(y, total)).output(0)]


def _log_softmax(r: Reverse) -> Gradients:
    axis = axes_of(r.call.args["axis"], len(r.call.in_shapes[0]))[0]
    total = op.reduce_sum(r.dy, integers([axis]), True)
    return [op.subtract(r.dy, op.multiply(op.exp(r.results[0]), total)).output(0)]


def _softmax_cross_entropy(r: Reverse) -> Gradients:
    """(softmax(x) - one_hot(label)) * dy."""
    axis = axes_of(r.call.args["axis"], len(r.call.in_shapes[0]))[0]
    classes = r.call.in_shapes[0][axis]
    label = op.squeeze(as_index(r.call.inputs[1]), integers([axis]))
    one, zero = constant(np.float32(1)), constant(np.float32(0))
    hot = op.one_hot(label, integers(classes), one, zero, axis)
    return [op.multiply(op.subtract(op.softmax(r.call.x, axis), hot), r.dy).output(0), None]


def _affine_operands(args: dict) -> tuple[int | None, int | None]:
    """Which operands of a normalisation are beta and gamma."""
    beta = None if args["no_bias"] else 1
    return beta, None if args["no_scale"] else 1 + (beta is not None)


def _normalisation(r: Reverse, axes: list[int]) -> Gradients:
    """dx = (g - mean(g) - n mean(g n)) / std, with n the normalised x and g = dy * gamma."""
    call, eps = r.call, r.call.args["eps"]
    at = integers(axes)
    x = as_float(call.x)
    n = op.mvn(x, at, True, eps, "inside_sqrt").output(0)
    found = _scale_and_shift(r, n)
    if r.wanted[0]:
        _, gamma = _affine_operands(call.args)
        g = r.dy if gamma is None else op.multiply(r.dy, call.inputs[gamma]).output(0)
        centred = op.mvn(x, at, False, eps, "inside_sqrt")
        variance = op.reduce_mean(op.multiply(centred, centred), at, True)
        std = op.sqrt(op.add(variance, constant(eps, np.float32)))
        along = op.reduce_mean(op.multiply(g, n), at, True)
        rest = op.mvn(op.subtract(g, op.multiply(n, along)), at, False, eps, "inside_sqrt")
        found[0] = op.divide(rest, std).output(0)
    return found


def _scale_and_shift(r: Reverse, n: Output) -> list[Output | None]:
    """Gradients of beta and gamma, given the normalised operand."""
    shape = r.call.in_shapes[0]
    found: list[Output | None] = [None] * len(r.call.inputs)
    beta, gamma = _affine_operands(r.call.args)
    if beta is not None and r.wanted[beta]:
        found[beta] = sum_to(r.dy, shape, r.call.in_shapes[beta])
    if gamma is not None and r.wanted[gamma]:
        found[gamma] = sum_to(op.multiply(r.dy, n).output(0), shape, r.call.in_shapes[gamma])
    return found


def _layer_normalization(r: Reverse) -> Gradients:
    ndim = len(r.call.in_shapes[0])
    kept = axes_of(r.call.args["batch_axis"], ndim)
    return _normalisation(r, [a for a in range(ndim) if a not in kept])


def _batch_normalization(r: Reverse) -> Gradients:
    call, args = r.call, r.call.args
    ndim = len(call.in_shapes[0])
    if args["batch_stat"]:
        kept = axes_of(args["axes"], ndim)
        return _normalisation(r, [a for a in range(ndim) if a not in kept])
    mean, variance = call.inputs[-2:]
    scale = op.divide(
        constant(np.float32(1)), op.sqrt(op.add(variance, constant(args["eps"], np.float32)))
    )
    found = _scale_and_shift(r, op.multiply(op.subtract(call.x, mean), scale).output(0))
    if r.wanted[0]:
        _, gamma = _affine_operands(args)
        factor = scale if gamma is None else op.multiply(scale, call.inputs[gamma])
        found[0] = op.multiply(r.dy, factor).output(0)
    return found


RULES: dict[str, BackwardRule] = {
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "LogSoftmax": _log_softmax,
    "Mean": _mean,
    "Softmax": _softmax,
    "SoftmaxCrossEntropy": _softmax_cross_entropy,
    "Sum": _sum,
}
