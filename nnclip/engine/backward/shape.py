"""Backward rules of operations that move, cut, join or look up."""

from __future__ import annotations

import math

import numpy as np
from openvino import opset15 as op

from nnclip.engine.backward.reverse import (
    BackwardRule,
    Gradients,
    Reverse,
    sum_to,
    to_shape,
)
from nnclip.engine.emit import as_index, axes_of, constant, integers


def _reshape(r: Reverse) -> Gradients:
    return [to_shape(r.dy, r.call.in_shapes[0])]


def _transpose(r: Reverse) -> Gradients:
    axes = axes_of(r.call.args["axes"], len(r.call.in_shapes[0]))
    return [op.transpose(r.dy, integers(np.argsort(axes))).output(0)]


def _broadcast(r: Reverse) -> Gradients:
    return [sum_to(r.dy, r.call.out_shapes[0], r.call.in_shapes[0])]


def _slice(r: Reverse) -> Gradients:
    """Pad with zeros; a slice with steps falls apart into single rows, so it is scattered."""
    shape, args = r.call.in_shapes[0], r.call.args
    keys = [
        slice(*key).indices(n)
        for *key, n in zip(args["start"], args["stop"], args["step"], shape, strict=True)
    ]
    if any(step != 1 for _, _, step in keys):
        flat = np.arange(math.prod(shape)).reshape(shape)
        at = flat[
            tuple(
                slice(*key) for key in zip(args["start"], args["stop"], args["step"], strict=True)
            )
        ]
        zeros = op.broadcast(constant(np.float32(0)), integers([math.prod(shape)]))
        dy = to_shape(r.dy, [-1])
        scattered = op.scatter_elements_update(zeros, integers(at.ravel()), dy, integers(0), "sum")
        return [to_shape(scattered.output(0), shape)]
    before = [start for start, _, _ in keys]
    after = [n - max(stop, start) for (start, stop, _), n in zip(keys, shape, strict=True)]
    zero = constant(np.float32(0))
    return [op.pad(r.dy, integers(before), integers(after), "constant", zero).output(0)]


def _pad(r: Reverse) -> Gradients:
    """Cut out what was there before; a border that repeats the inside is not undone."""
    if r.call.args["mode"] != "constant":
        raise r.call.refuse("repeats its inside, which cannot be differentiated yet")
    shape = r.call.in_shapes[0]
    width = r.call.args["pad_width"]
    before = ([0] * (2 * len(shape) - len(width)) + list(width))[0::2]
    stop = [start + n for start, n in zip(before, shape, strict=True)]
    steps, axes = integers([1] * len(shape)), integers(range(len(shape)))
    return [op.slice(r.dy, integers(before), integers(stop), steps, axes).output(0)]


def _concatenate(r: Reverse) -> Gradients:
    axis = axes_of(r.call.args["axis"], len(r.call.out_shapes[0]))[0]
    lengths = integers([shape[axis] for shape in r.call.in_shapes])
    parts = op.variadic_split(r.dy, integers(axis), lengths)
    return [parts.output(i) if w else None for i, w in enumerate(r.wanted)]


def _split(r: Reverse) -> Gradients:
    axis = axes_of(r.call.args["axis"], len(r.call.in_shapes[0]))[0]
    parts = [op.unsqueeze(r.gradient(i), integers(axis)) for i in range(len(r.results))]
    return [op.concat(parts, axis).output(0)]


def _embed(r: Reverse) -> Gradients:
    """Sum the gradients of equal ids into the rows of the table."""
    table = r.call.in_shapes[1]
    width = math.prod(table[1:])
    dy = to_shape(r.dy, (-1, width))
    rows = to_shape(as_index(r.call.x), (-1, 1))
    count = math.prod(r.call.in_shapes[0])
    at = op.broadcast(rows, integers([count, width]))
    zeros = op.broadcast(constant(np.float32(0)), integers([table[0], width]))
    summed = op.scatter_elements_update(zeros, at, dy, integers(0), "sum").output(0)
    return [None, to_shape(summed, table)]


RULES: dict[str, BackwardRule] = {
    "Broadcast": _broadcast,
    "Concatenate": _concatenate,
    "Embed": _embed,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Transpose": _transpose,
}
