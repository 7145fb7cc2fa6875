"""Backward rules of products."""

from __future__ import annotations

import math

import numpy as np
from openvino import Output
from openvino import opset15 as op

from nnclip.engine.backward.reverse import (
    BackwardRule,
    Gradients,
    Reverse,
    sum_rows,
    sum_to,
    to_shape,
)
from nnclip.engine.emit import Call, as_float, constant


def _batch_matmul(r: Reverse) -> Gradients:
    """Both gradients are products again; one matrix for the whole batch takes a plain 2-D one."""
    call, dy = r.call, r.dy
    ta, tb = call.args["transpose_a"], call.args["transpose_b"]
    shapes = [*call.in_shapes, call.out_shapes[0]]
    a, b = (_packed_apart(call, i) for i in (0, 1))
    if all(math.prod(shape[:-2]) == 1 for shape in shapes):
        a, b, dy = (to_shape(v, shape[-2:]) for v, shape in zip((a, b, dy), shapes, strict=True))
    da = db = None
    if r.wanted[0]:
        da = op.matmul(b, dy, tb, True) if ta else op.matmul(dy, b, False, not tb)
        da = _undo_batch(da.output(0), call, 0)
    if r.wanted[1]:
        db = op.matmul(dy, a, True, ta) if tb else op.matmul(a, dy, not ta, False)
        db = _undo_batch(db.output(0), call, 1)
    return [da, db]


def _packed_apart(call: Call, i: int) -> Output:
    """An operand that is not shared with the product forwards, where that would be wrong.

    OpenVINO (seen in 2026.4) packs a constant once for all products that read it, and takes a
    square one for its transpose. Here each is read both ways.
    """
    array = call.constants[i]
    if array is None or array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        return as_float(call.inputs[i])
    return constant(np.array(array))


def _undo_batch(gradient: Output, call: Call, i: int) -> Output:
    target, full = call.in_shapes[i], call.out_shapes[0][:-2]
    if len(gradient.get_shape()) == 2:
        return to_shape(gradient, target)
    return sum_to(gradient, (*full, *target[-2:]), target)


def _affine(r: Reverse) -> Gradients:
    call = r.call
    shape, base = call.in_shapes[0], call.args["base_axis"]
    base = base + len(shape) if base < 0 else base
    rows, width = math.prod(shape[:base]), math.prod(shape[base:])
    out = math.prod(call.in_shapes[1][1:])
    dy = to_shape(r.dy, (rows, out))
    found: list[Output | None] = [None] * len(call.inputs)
    if r.wanted[0]:
        w = to_shape(call.inputs[1], (width, out))
        found[0] = to_shape(op.matmul(dy, w, False, True).output(0), shape)
    if r.wanted[1]:
        x = to_shape(as_float(call.x), (rows, width))
        found[1] = to_shape(op.matmul(x, dy, True, False).output(0), call.in_shapes[1])
    if len(found) == 3 and r.wanted[2]:
        found[2] = to_shape(sum_rows(dy, (rows, out), out), call.in_shapes[2])
    return found


RULES: dict[str, BackwardRule] = {
    "Affine": _affine,
    "BatchMatmul": _batch_matmul,
}
