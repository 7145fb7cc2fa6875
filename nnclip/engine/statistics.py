"""The running statistics of batch normalisation, which training moves along as a side effect."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from openvino import Output
from openvino import opset15 as op

from nnclip.engine.emit import as_float, axes_of, constant, integers
from nnclip.engine.lowering import Lowering
from nnclip.nnabla import Function, nn

Update = Callable[[Lowering], Output]


def running_statistics(functions: Iterable[Function]) -> dict[nn.Variable, Update]:
    """Find the running means and variances that a forward pass of these functions would move.

    Returns:
        For each variable, a function that writes its value after the step.
    """
    found: dict[nn.Variable, Update] = {}
    for f in functions:
        if f.info.type_name != "BatchNormalization" or not f.info.args["batch_stat"]:
            continue
        mean, variance = f.inputs[-2:]
        if mean.parent is None and variance.parent is None:
            found[mean] = _update(f, mean, of_variance=False)
            found[variance] = _update(f, variance, of_variance=True)
    return found


def _update(f: Function, running: nn.Variable, of_variance: bool) -> Update:
    def update(lowering: Lowering) -> Output:
        x, args = f.inputs[0], f.info.args
        kept = axes_of(args["axes"], x.ndim)
        axes = [a for a in range(x.ndim) if a not in kept]
        value, at = as_float(lowering.value(x)), integers(axes)
        statistic = op.reduce_mean(value, at, True)
        if of_variance:
            # the running one is unbiased, the one that normalises is not
            count = math.prod(x.shape[a] for a in axes)
            square = op.reduce_sum(op.squared_difference(value, statistic), at, True)
            statistic = op.divide(square, constant(np.float32(max(count - 1, 1))))
        decay = args["decay_rate"]
        old = op.multiply(lowering.value(running), constant(decay, np.float32))
        new = op.multiply(statistic, constant(1.0 - decay, np.float32))
        shaped = op.reshape(new, integers(list(running.shape)), special_zero=False)
        return op.add(old, shaped).output(0)

    return update
