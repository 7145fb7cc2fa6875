"""Operations that bring values together: sums, maxima, softmax, normalisation, pooling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from openvino import opset15 as op

from nnclip.engine.emit import Call, Output, Rule, as_float, as_index, axes_of, constant, integers


def _reduction(make: Callable[..., Any]) -> Rule:
    def rule(call: Call) -> Output:
        axes = axes_of(call.args["axes"], len(call.in_shapes[0]))
        if not axes:  # NNabla writes "no axes" for "leave it alone"
            return call.x
        return make(as_float(call.x), integers(axes), call.args["keep_dims"]).output(0)

    return rule


def _first_index(x: Output, best: Output, axis: int, size: int) -> Output:
    """Index of the first value along `axis` that equals `best` (reduced with the axis kept)."""
    shape = np.ones(len(x.get_partial_shape()), np.int64)
    shape[axis] = size
    position = constant(np.arange(size, dtype=np.float32).reshape(shape))
    candidates = op.select(op.equal(x, best), position, constant(float(size)))
    return op.reduce_min(candidates, integers([axis]), False).output(0)


def _extremum(make: Callable[..., Any]) -> Rule:
    def rule(call: Call) -> list[Output]:
        ndim, keep = len(call.in_shapes[0]), call.args["keep_dims"]
        axes = axes_of(call.args["axes"], ndim)
        values = []
        if not call.args["only_index"]:
            values.append(make(as_float(call.x), integers(axes), keep).output(0))
        if call.args["only_index"] or call.args["with_index"]:
            if len(axes) > 1:
                raise call.refuse("asks for the place of an extremum over several axes")
            best = make(call.x, integers(axes), True).output(0)
            index = _first_index(call.x, best, axes[0], call.in_shapes[0][axes[0]])
            values.append(op.unsqueeze(index, integers(axes)).output(0) if keep else index)
        return values

    return rule


def _softmax(call: Call) -> Output:
    axis = axes_of(call.args["axis"], len(call.in_shapes[0]))[0]
    return op.softmax(as_float(call.x), axis).output(0)


def _log_softmax(call: Call) -> Output:
    axis = axes_of(call.args["axis"], len(call.in_shapes[0]))[0]
    return op.log_softmax(as_float(call.x), axis).output(0)


def _softmax_cross_entropy(call: Call) -> Output:
    """Minus the log-probability of each label, the class axis kept with length 1."""
    axis = axes_of(call.args["axis"], len(call.in_shapes[0]))[0]
    log_p = op.log_softmax(as_float(call.x), axis)
    return op.negative(op.gather_elements(log_p, as_index(call.inputs[1]), axis)).output(0)


def normalised(x: Output, axes: list[int], eps: float) -> Output:
    """Subtract the mean and divide by the standard deviation over `axes`."""
    return op.mvn(x, integers(axes), True, eps, "inside_sqrt").output(0)


def scaled(call: Call, x: Output, first: int = 1) -> Output:
    """Apply the optional scale and shift of a normalisation: operands beta, gamma in that order."""
    values = list(call.inputs[first:])
    beta = None if call.args["no_bias"] else values.pop(0)
    gamma = None if call.args["no_scale"] else values.pop(0)
    if gamma is not None:
        x = op.multiply(x, gamma).output(0)
    if beta is not None:
        x = op.add(x, beta).output(0)
    return x


def _layer_normalization(call: Call) -> Output:
    ndim = len(call.in_shapes[0])
    kept = axes_of(call.args["batch_axis"], ndim)
    axes = [a for a in range(ndim) if a not in kept]
    return scaled(call, normalised(as_float(call.x), axes, call.args["eps"]))


def _instance_normalization(call: Call) -> Output:
    ndim = len(call.in_shapes[0])
    kept = axes_of(call.args["batch_axis"], ndim) + axes_of(call.args["channel_axis"], ndim)
    axes = [a for a in range(ndim) if a not in kept]
    return scaled(call, normalised(as_float(call.x), axes, call.args["eps"]))


def _group_normalization(call: Call) -> Output:
    if call.args["channel_axis"] != 1 or list(call.args["batch_axis"]) != [0]:
        raise call.refuse("must have the batch on axis 0 and the channels on axis 1")
    shape, groups = call.in_shapes[0], call.args["num_groups"]
    split = op.reshape(as_float(call.x), integers([0, groups, -1, *shape[2:]]), special_zero=True)
    x = normalised(split.output(0), list(range(2, len(shape) + 1)), call.args["eps"])
    return scaled(call, op.reshape(x, integers([0, shape[1], *shape[2:]]), True).output(0))


def _batch_normalization(call: Call) -> list[Output] | Output:
    """With the batch's own statistics, or with running ones folded to one scale and one shift."""
    ndim, eps = len(call.in_shapes[0]), call.args["eps"]
    if call.args["batch_stat"]:
        kept = axes_of(call.args["axes"], ndim)
        axes = [a for a in range(ndim) if a not in kept]
        return scaled(call, normalised(as_float(call.x), axes, eps))
    mean, variance = call.inputs[-2:]
    scale = op.divide(constant(1.0), op.sqrt(op.add(variance, constant(eps, "float32")))).output(0)
    if not call.args["no_scale"]:
        scale = op.multiply(scale, call.inputs[1 if call.args["no_bias"] else 2]).output(0)
    shift = op.negative(op.multiply(mean, scale)).output(0)
    if not call.args["no_bias"]:
        shift = op.add(call.inputs[1], shift).output(0)
    return op.add(op.multiply(as_float(call.x), scale), shift).output(0)


def _norm(call: Call, keep: bool) -> Output:
    p, axes = call.args["p"], integers(axes_of(call.args["axes"], len(call.in_shapes[0])))
    if p not in (1, 2):
        raise call.refuse("is neither the 1-norm nor the 2-norm")
    x = as_float(call.x)
    if p == 1:
        return op.reduce_sum(op.abs(x), axes, keep).output(0)
    return op.sqrt(op.reduce_sum(op.multiply(x, x), axes, keep)).output(0)


def _norm_normalization(call: Call) -> Output:
    if call.args["p"] != 2:
        raise call.refuse("is not the 2-norm")
    x, axes = as_float(call.x), integers(axes_of(call.args["axes"], len(call.in_shapes[0])))
    square = op.reduce_sum(op.multiply(x, x), axes, True)
    length = op.sqrt(op.add(square, constant(call.args["eps"], "float32")))
    return op.divide(x, length).output(0)


def _pooling(kind: str) -> Rule:
    def rule(call: Call) -> Output:
        a = call.args
        if a["channel_last"] or not a["ignore_border"]:
            raise call.refuse("must have its channels first and ignore_border=True")
        x, window = as_float(call.x), (a["kernel"], a["stride"])
        if kind == "max":
            ones = [1] * len(a["kernel"])
            y = op.max_pool(x, a["stride"], ones, a["pad"], a["pad"], a["kernel"])
            return y.output(0)
        leave_out = kind == "average" and not a["including_pad"]
        y = op.avg_pool(x, window[1], a["pad"], a["pad"], window[0], leave_out).output(0)
        area = float(np.prod(a["kernel"]))
        return op.multiply(y, constant(area)).output(0) if kind == "sum" else y

    return rule


def _global_average_pooling(call: Call) -> Output:
    axes = integers(list(range(2, len(call.in_shapes[0]))))
    return op.reduce_mean(as_float(call.x), axes, True).output(0)


RULES: dict[str, Rule] = {
    "AveragePooling": _pooling("average"),
    "BatchNormalization": _batch_normalization,
    "GlobalAveragePooling": _global_average_pooling,
    "GroupNormalization": _group_normalization,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "LogSoftmax": _log_softmax,
    "Max": _extremum(op.reduce_max),
    "MaxPooling": _pooling("max"),
    "Mean": _reduction(op.reduce_mean),
    "Min": _extremum(op.reduce_min),
    "Norm": lambda call: _norm(call, call.args["keep_dims"]),
    "NormNormalization": _norm_normalization,
    "Prod": _reduction(op.reduce_prod),
    "Softmax": _softmax,
    "SoftmaxCrossEntropy": _softmax_cross_entropy,
    "Sum": _reduction(op.reduce_sum),
    "SumPooling": _pooling("sum"),
}
