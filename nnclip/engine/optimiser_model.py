"""AdamW's arithmetic as an OpenVINO model; see `nnclip.engine.adamw`."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset15 as op

from nnclip.engine.emit import constant


def adamw_model(size: int, betas: tuple[float, float], eps: float) -> ov.Model:
    """Write the update of `size` values.

    Inputs: parameter, gradient, first and second moment (size,); keep, step, root, scale (1,).
    Outputs: parameter, first and second moment. Every value is read before it is written, so
    outputs may lie on their inputs.
    """
    parameter, gradient, first, second = (op.parameter([size], np.float32) for _ in range(4))
    keep, step, root, scale = (op.parameter([1], np.float32) for _ in range(4))

    def moment(old: ov.Node, new: ov.Node, beta: float) -> ov.Node:
        share = op.multiply(new, constant(1 - beta, np.float32))
        return op.add(op.multiply(old, constant(beta, np.float32)), share)

    scaled = op.multiply(gradient, scale)
    new_first = moment(first, scaled, betas[0])
    new_second = moment(second, op.multiply(scaled, scaled), betas[1])
    divisor = op.add(op.multiply(op.sqrt(new_second), root), constant(eps, np.float32))
    move = op.multiply(step, op.divide(new_first, divisor))
    moved = op.subtract(op.multiply(parameter, keep), move)
    inputs = [parameter, gradient, first, second, keep, step, root, scale]
    return ov.Model([op.result(x) for x in (moved, new_first, new_second)], inputs)
