"""Backward rules, where writing them for this processor pays; NNabla's own serve for the rest.

A rule takes a `Reverse` and gives one gradient per operand, None where it is not wanted. Shapes
are literal here: a training step is compiled for one batch size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from openvino import Output
from openvino import opset15 as op

from nnclip.engine.emit import Call, Shape, as_float, as_index, axes_of, constant, integers


@dataclass(frozen=True)
class Reverse:
    """One function on the way back.

    Attributes:
        call: The function as it was lowered.
        results: Its results.
        gradients: The gradient of each result, None where none arrives.
        wanted: Whether the gradient of each operand is wanted.
    """

    call: Call
    results: list[Output]
    gradients: list[Output | None]
    wanted: list[bool]

    @property
    def dy(self) -> Output:
        """The gradient of the only result."""
        return self.gradient(0)

    def gradient(self, i: int) -> Output:
        """The gradient of result `i`, zeros where none arrives."""
        found = self.gradients[i]
        if found is not None:
            return found
        return op.broadcast(constant(np.float32(0)), integers(self.call.out_shapes[i])).output(0)


Gradients = Sequence["Output | None"]
BackwardRule = Callable[[Reverse], Gradients]


def _to_shape(x: Output, shape: Sequence[int]) -> Output:
    return op.reshape(x, integers(list(shape)), special_zero=False).output(0)


def sum_rows(x: Output, shape: Shape, columns: int) -> Output:
    """Sum a value of `shape` down to its last `columns` numbers, as a product with ones.

    The product reads the value once, in the order it lies, on all cores; a reduction does not.
    """
    rows = math.prod(shape) // columns
    ones = constant(np.ones((1, rows), np.float32))
    return op.matmul(ones, _to_shape(x, (rows, columns)), False, False).output(0)


def sum_to(x: Output, shape: Shape, target: Shape) -> Output:
    """Undo a broadcast: sum a value of `shape` over the axes where `target` has length 1."""
    axes = [i for i, (n, t) in enumerate(zip(shape, target, strict=True)) if t == 1 and n != 1]
    if not axes:
        return x
    kept = [i for i in range(len(shape)) if i not in axes and shape[i] != 1]
    if kept and min(kept) > max(axes):
        return _to_shape(sum_rows(x, shape, math.prod(target)), target)
    return op.reduce_sum(x, integers(axes), True).output(0)


def _add(r: Reverse) -> Gradients:
    shape = r.call.out_shapes[0]
    pairs = zip(r.call.in_shapes, r.wanted, strict=True)
    return [sum_to(r.dy, shape, target) if w else None for target, w in pairs]


def _sub(r: Reverse) -> Gradients:
    da, db = _add(r)
    return [da, op.negative(db).output(0) if db is not None else None]


def _mul(r: Reverse) -> Gradients:
    shape, (a, b) = r.call.out_shapes[0], map(as_float, r.call.inputs)
    a_shape, b_shape = r.call.in_shapes
    da = sum_to(op.multiply(r.dy, b).output(0), shape, a_shape) if r.wanted[0] else None
    db = sum_to(op.multiply(r.dy, a).output(0), shape, b_shape) if r.wanted[1] else None
    return [da, db]


def _div(r: Reverse) -> Gradients:
    shape, b = r.call.out_shapes[0], as_float(r.call.inputs[1])
    a_shape, b_shape = r.call.in_shapes
    da = op.divide(r.dy, b).output(0)
    db = None
    if r.wanted[1]:
        db = sum_to(op.negative(op.multiply(da, r.results[0])).output(0), shape, b_shape)
    return [sum_to(da, shape, a_shape) if r.wanted[0] else None, db]


def _scale(r: Reverse) -> Gradients:
    return [op.multiply(r.dy, constant(r.call.args["val"], np.float32)).output(0)]


def _pass_on(r: Reverse) -> Gradients:
    return [r.dy]


def _reshape(r: Reverse) -> Gradients:
    return [_to_shape(r.dy, r.call.in_shapes[0])]


def _transpose(r: Reverse) -> Gradients:
    axes = axes_of(r.call.args["axes"], len(r.call.in_shapes[0]))
    return [op.transpose(r.dy, integers(np.argsort(axes))).output(0)]


def _broadcast(r: Reverse) -> Gradients:
    return [sum_to(r.dy, r.call.out_shapes[0], r.call.in_shapes[0])]


def _sum(r: Reverse) -> Gradients:
    return [_spread(r, 1.0)]


def _mean(r: Reverse) -> Gradients:
    count = math.prod(r.call.in_shapes[0]) / math.prod(r.call.out_shapes[0])
    return [_spread(r, 1.0 / count)]


def _spread(r: Reverse, factor: float) -> Output:
    """Give every value that went into a sum the gradient of the sum."""
    shape = r.call.in_shapes[0]
    axes = axes_of(r.call.args["axes"], len(shape))
    dy = _to_shape(r.dy, [1 if i in axes else n for i, n in enumerate(shape)])
    if factor != 1.0:
        dy = op.multiply(dy, constant(factor, np.float32)).output(0)
    return op.broadcast(dy, integers(shape)).output(0)


def _slice(r: Reverse) -> Gradients:
    """Pad with zeros; a slice with steps falls apart into single rows, so it is scattered."""
    shape, args = r.call.in_shapes[0], r.call.args
    keys = [
        slice(*key).indices(n)
        for *key, n in zip(args["start"], args["stop"], args["step"], shape, strict=True)
    ]
    if any(step != 1 for _, _, step in keys):
        flat = np.arange(math.prod(shape)).reshape(shape)
        at = flat[tuple(slice(*key) for key in zip(args["start"], args["stop"], args["step"]))]
        zeros = op.broadcast(constant(np.float32(0)), integers([math.prod(shape)]))
        dy = _to_shape(r.dy, [-1])
        scattered = op.scatter_elements_update(zeros, integers(at.ravel()), dy, integers(0), "sum")
        return [_to_shape(scattered.output(0), shape)]
    before = [start for start, _, _ in keys]
    after = [n - max(stop, start) for (start, stop, _), n in zip(keys, shape, strict=True)]
    zero = constant(np.float32(0))
    return [op.pad(r.dy, integers(before), integers(after), "constant", zero).output(0)]


def _concatenate(r: Reverse) -> Gradients:
    axis = axes_of(r.call.args["axis"], len(r.call.out_shapes[0]))[0]
    lengths = integers([shape[axis] for shape in r.call.in_shapes])
    parts = op.variadic_split(r.dy, integers(axis), lengths)
    return [parts.output(i) if w else None for i, w in enumerate(r.wanted)]


def _split(r: Reverse) -> Gradients:
    axis = axes_of(r.call.args["axis"], len(r.call.in_shapes[0]))[0]
    parts = [op.unsqueeze(r.gradient(i), integers(axis)) for i in range(len(r.results))]
    return [op.concat(parts, axis).output(0)]


def _batch_matmul(r: Reverse) -> Gradients:
    """Both gradients are products again; one matrix for the whole batch takes a plain 2-D one."""
    call, dy = r.call, r.dy
    ta, tb = call.args["transpose_a"], call.args["transpose_b"]
    shapes = [*call.in_shapes, call.out_shapes[0]]
    a, b = map(as_float, call.inputs)
    if all(math.prod(shape[:-2]) == 1 for shape in shapes):
        a, b, dy = (_to_shape(v, shape[-2:]) for v, shape in zip((a, b, dy), shapes, strict=True))
    da = db = None
    if r.wanted[0]:
        da = op.matmul(b, dy, tb, True) if ta else op.matmul(dy, b, False, not tb)
        da = _undo_batch(da.output(0), call, 0)
    if r.wanted[1]:
        db = op.matmul(dy, a, True, ta) if tb else op.matmul(a, dy, not ta, False)
        db = _undo_batch(db.output(0), call, 1)
    return [da, db]


def _undo_batch(gradient: Output, call: Call, i: int) -> Output:
    target, full = call.in_shapes[i], call.out_shapes[0][:-2]
    if len(gradient.get_shape()) == 2:
        return _to_shape(gradient, target)
    return sum_to(gradient, (*full, *target[-2:]), target)


def _affine(r: Reverse) -> Gradients:
    call = r.call
    shape, base = call.in_shapes[0], call.args["base_axis"]
    base = base + len(shape) if base < 0 else base
    rows, width = math.prod(shape[:base]), math.prod(shape[base:])
    out = math.prod(call.in_shapes[1][1:])
    dy = _to_shape(r.dy, (rows, out))
    found: list[Output | None] = [None] * len(call.inputs)
    if r.wanted[0]:
        w = _to_shape(call.inputs[1], (width, out))
        found[0] = _to_shape(op.matmul(dy, w, False, True).output(0), shape)
    if r.wanted[1]:
        x = _to_shape(as_float(call.x), (rows, width))
        found[1] = _to_shape(op.matmul(x, dy, True, False).output(0), call.in_shapes[1])
    if len(found) == 3 and r.wanted[2]:
        found[2] = _to_shape(sum_rows(dy, (rows, out), out), call.in_shapes[2])
    return found


def _embed(r: Reverse) -> Gradients:
    """Sum the gradients of equal ids into the rows of the table."""
    table = r.call.in_shapes[1]
    width = math.prod(table[1:])
    dy = _to_shape(r.dy, (-1, width))
    rows = _to_shape(as_index(r.call.x), (-1, 1))
    count = math.prod(r.call.in_shapes[0])
    at = op.broadcast(rows, integers([count, width]))
    zeros = op.broadcast(constant(np.float32(0)), integers([table[0], width]))
    summed = op.scatter_elements_update(zeros, at, dy, integers(0), "sum").output(0)
    return [None, _to_shape(summed, table)]


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


def _sigmoid(r: Reverse) -> Gradients:
    y = r.results[0]
    return [op.multiply(r.dy, op.multiply(y, op.subtract(constant(1.0), y))).output(0)]


def _tanh(r: Reverse) -> Gradients:
    y = r.results[0]
    return [op.multiply(r.dy, op.subtract(constant(1.0), op.multiply(y, y))).output(0)]


def _exp(r: Reverse) -> Gradients:
    return [op.multiply(r.dy, r.results[0]).output(0)]


def _relu(r: Reverse) -> Gradients:
    return [op.multiply(r.dy, op.sign(r.results[0])).output(0)]


def _layer_normalization(r: Reverse) -> Gradients:
    """dx = (g - mean(g) - n mean(g n)) / std, with n the normalised x and g = dy * gamma."""
    call, args = r.call, r.call.args
    shape = call.in_shapes[0]
    kept = axes_of(args["batch_axis"], len(shape))
    axes = [a for a in range(len(shape)) if a not in kept]
    eps = args["eps"]
    x = as_float(call.x)
    n = op.mvn(x, integers(axes), True, eps, "inside_sqrt").output(0)
    found: list[Output | None] = [None] * len(call.inputs)
    beta = None if args["no_bias"] else 1
    gamma = None if args["no_scale"] else 1 + (beta is not None)
    if beta is not None and r.wanted[beta]:
        found[beta] = sum_to(r.dy, shape, call.in_shapes[beta])
    if gamma is not None and r.wanted[gamma]:
        found[gamma] = sum_to(op.multiply(r.dy, n).output(0), shape, call.in_shapes[gamma])
    if r.wanted[0]:
        g = r.dy if gamma is None else op.multiply(r.dy, call.inputs[gamma]).output(0)
        at = integers(axes)
        centred = op.mvn(x, at, False, eps, "inside_sqrt")
        variance = op.reduce_mean(op.multiply(centred, centred), at, True)
        std = op.sqrt(op.add(variance, constant(eps, np.float32)))
        along = op.reduce_mean(op.multiply(g, n), at, True)
        rest = op.mvn(op.subtract(g, op.multiply(n, along)), at, False, eps, "inside_sqrt")
        found[0] = op.divide(rest, std).output(0)
    return found


RULES: dict[str, BackwardRule] = {
    "Add2": _add,
    "AddScalar": _pass_on,
    "Affine": _affine,
    "BatchMatmul": _batch_matmul,
    "Broadcast": _broadcast,
    "Concatenate": _concatenate,
    "Div2": _div,
    "Embed": _embed,
    "Exp": _exp,
    "Identity": _pass_on,
    "LayerNormalization": _layer_normalization,
    "LogSoftmax": _log_softmax,
    "Mean": _mean,
    "Mul2": _mul,
    "MulScalar": _scale,
    "ReLU": _relu,
    "Reshape": _reshape,
    "Sigmoid": _sigmoid,
    "Slice": _slice,
    "Softmax": _softmax,
    "SoftmaxCrossEntropy": _softmax_cross_entropy,
    "Split": _split,
    "Sub2": _sub,
    "Sum": _sum,
    "Tanh": _tanh,
    "Transpose": _transpose,
}
