"""Operations that move, cut, join or repeat values, or look them up."""

from __future__ import annotations

import numpy as np
from openvino import opset15 as op

from nnclip.engine.emit import (
    Call,
    Output,
    Rule,
    as_float,
    as_index,
    axes_of,
    batch_axis,
    constant,
    integers,
    reshape,
    without_batch,
)
from nnclip.engine.ops.linear import unflattened


def _reshape(call: Call) -> Output:
    y = reshape(call.x, call.in_shapes[0], call.out_shapes[0], call.batch)
    return unflattened(y) if call.batch else y


def _transpose(call: Call) -> Output:
    return op.transpose(
        call.x, integers(axes_of(call.args["axes"], len(call.in_shapes[0])))
    ).output(0)


def _broadcast(call: Call) -> Output:
    target = list(call.out_shapes[0])
    axis = batch_axis(call.x) if call.batch else None
    if axis is not None:
        target[axis] = 1  # in bidirectional mode the operand's own size wins over a 1
    return op.broadcast(call.x, integers(target), broadcast_spec="BIDIRECTIONAL").output(0)


def _broadcast_to(call: Call) -> Output:
    """Stretch the second operand over the first, its axes beginning at `axis`."""
    ndim, size = len(call.in_shapes[0]), call.in_shapes[1]
    start = call.args["axis"]
    start = ndim - len(size) if start < 0 else start
    shape = [1] * start + list(size) + [1] * (ndim - start - len(size))
    y = op.reshape(call.inputs[1], integers(shape), special_zero=False)
    return op.broadcast(y, op.shape_of(call.x)).output(0)


def _joinable(call: Call, axis: int) -> list[Output]:
    """Operands of a join: constants are stretched over the batch that the others bring."""
    live = [x for x, c in zip(call.inputs, call.constants, strict=True) if c is None]
    along = next((a for a in map(batch_axis, live) if a is not None), None) if call.batch else None
    if along is None:
        return call.inputs
    if along == axis:
        raise call.refuse("joins along the batch axis: compile with dynamic_batch=False")
    like = next(x for x in live if batch_axis(x) is not None)
    size = op.gather(op.shape_of(like), integers([along]), integers(0))
    values = []
    for x, array in zip(call.inputs, call.constants, strict=True):
        if array is not None:
            x = constant(without_batch(array, along, call.batch))
        if batch_axis(x) is None:
            ones = np.ones(len(x.get_partial_shape()), np.int64)
            target = op.scatter_update(integers(ones), integers([along]), size, integers(0))
            x = op.broadcast(x, target, broadcast_spec="BIDIRECTIONAL").output(0)
        values.append(x)
    return values


def _one_type(values: list[Output]) -> list[Output]:
    if len({v.get_element_type() for v in values}) > 1:
        return [as_float(v) for v in values]
    return values


def _concatenate(call: Call) -> Output:
    axis = axes_of(call.args["axis"], len(call.out_shapes[0]))[0]
    return op.concat(_one_type(_joinable(call, axis)), axis).output(0)


def _stack(call: Call) -> Output:
    axis = axes_of(call.args["axis"], len(call.out_shapes[0]))[0]
    at = integers(axis)
    values = _one_type(_joinable(call, -1))
    return op.concat([op.unsqueeze(v, at) for v in values], axis).output(0)


def _slice(call: Call) -> Output:
    shape = call.in_shapes[0]
    free = batch_axis(call.x) if call.batch else None
    keys = ([], [], [], [])  # type: tuple[list[int], list[int], list[int], list[int]]
    for axis, (start, stop, step) in enumerate(
        zip(call.args["start"], call.args["stop"], call.args["step"], strict=True)
    ):
        first, last, stride = slice(start, stop, step).indices(shape[axis])
        if (first, last, stride) == (0, shape[axis], 1):
            continue
        if axis == free:
            raise call.refuse("cuts the batch axis: compile with dynamic_batch=False")
        # -1 as the end of a backward slice would mean the last element
        last = -shape[axis] - 1 if last < 0 else last
        for key, value in zip(keys, (first, last, stride, axis), strict=True):
            key.append(value)
    if not keys[0]:
        return call.x
    start, stop, step, axes = map(integers, keys)
    return op.slice(call.x, start, stop, step, axes).output(0)


def _split(call: Call) -> list[Output]:
    axis = integers(axes_of(call.args["axis"], len(call.in_shapes[0]))[0])
    parts = op.split(call.x, axis, len(call.out_shapes))
    return [op.squeeze(parts.output(i), axis).output(0) for i in range(len(call.out_shapes))]


def _pad(call: Call) -> Output:
    width, ndim = call.args["pad_width"], len(call.in_shapes[0])
    width = [0] * (2 * ndim - len(width)) + list(width)
    mode = {"constant": "constant", "reflect": "reflect", "repeat": "edge"}[call.args["mode"]]
    value = constant(call.args["constant_value"], "float32")
    before, after = integers(width[0::2]), integers(width[1::2])
    return op.pad(as_float(call.x), before, after, mode, value).output(0)


def _tile(call: Call) -> Output:
    free, reps = batch_axis(call.x) if call.batch else None, call.args["reps"]
    if free is not None and reps[free - len(call.in_shapes[0])] != 1:
        raise call.refuse("repeats the batch axis: compile with dynamic_batch=False")
    return op.tile(call.x, integers(reps)).output(0)


def _flip(call: Call) -> Output:
    axes = axes_of(call.args["axes"], len(call.in_shapes[0]))
    if call.batch and batch_axis(call.x) in axes:
        raise call.refuse("flips the batch axis: compile with dynamic_batch=False")
    first, last = integers([-1] * len(axes)), integers([-(2**31)] * len(axes))
    return op.slice(call.x, first, last, integers([-1] * len(axes)), integers(axes)).output(0)


def _embed(call: Call) -> Output:
    return op.gather(call.inputs[1], as_index(call.x), integers(0)).output(0)


def _gather(call: Call) -> Output:
    axis, batch_dims = call.args["axis"], call.args["batch_dims"]
    return op.gather(call.x, as_index(call.inputs[1]), integers(axis), batch_dims).output(0)


def _gather_nd(call: Call) -> Output:
    """NNabla keeps the coordinates on the first axis, OpenVINO on the last."""
    ndim = len(call.in_shapes[1])
    at = op.transpose(as_index(call.inputs[1]), integers([*range(1, ndim), 0]))
    return op.gather_nd(call.x, at).output(0)


def _one_hot(call: Call) -> Output:
    sizes = call.args["shape"]
    if len(sizes) != 1:
        raise call.refuse("marks several axes at once, which is not supported")
    position = op.squeeze(as_index(call.x), integers(-1))
    return op.one_hot(position, integers(sizes[0]), constant(1.0), constant(0.0), -1).output(0)


def _cumsum(call: Call) -> Output:
    axis = integers(axes_of(call.args["axis"], len(call.in_shapes[0]))[0])
    exclusive, reverse = call.args["exclusive"], call.args["reverse"]
    return op.cumsum(as_float(call.x), axis, exclusive, reverse).output(0)


RULES: dict[str, Rule] = {
    "Broadcast": _broadcast,
    "BroadcastTo": _broadcast_to,
    "Concatenate": _concatenate,
    "CumSum": _cumsum,
    "Embed": _embed,
    "Flip": _flip,
    "Gather": _gather,
    "GatherNd": _gather_nd,
    "OneHot": _one_hot,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Stack": _stack,
    "Tile": _tile,
    "Transpose": _transpose,
}
