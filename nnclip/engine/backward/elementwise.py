"""Backward rules of arithmetic and activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from openvino import opset15 as op

from nnclip.engine.backward.reverse import (
    BackwardRule,
    Gradients,
    Reverse,
    sum_to,
)
from nnclip.engine.emit import as_float, constant


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


def _power(r: Reverse) -> Gradients:
    x, exponent = as_float(r.call.x), r.call.args["val"]
    slope = op.multiply(op.power(x, constant(exponent - 1, np.float32)), constant(exponent, "f4"))
    return [op.multiply(r.dy, slope).output(0)]


def _erf(r: Reverse) -> Gradients:
    x = as_float(r.call.x)
    slope = op.multiply(constant(2 / math.sqrt(math.pi), "f4"), op.exp(op.negative(_square(x))))
    return [op.multiply(r.dy, slope).output(0)]


def _swish(r: Reverse) -> Gradients:
    """With s = sigmoid(x) and y = x s, the slope is s + y (1 - s)."""
    s = op.sigmoid(as_float(r.call.x))
    slope = op.add(s, op.multiply(r.results[0], op.subtract(constant(1.0), s)))
    return [op.multiply(r.dy, slope).output(0)]


def _gelu_tanh(r: Reverse) -> Gradients:
    """With t = tanh(a (x + b x^3)), the slope is (1 + t + a (x + 3 b x^3) (1 - t^2)) / 2."""
    x, a, b = as_float(r.call.x), math.sqrt(2 / math.pi), 0.044715
    cube = op.multiply(x, _square(x))
    t = op.tanh(op.multiply(constant(a, "f4"), op.add(x, op.multiply(constant(b, "f4"), cube))))
    inner = op.multiply(constant(a, "f4"), op.add(x, op.multiply(constant(3 * b, "f4"), cube)))
    bent = op.multiply(inner, op.subtract(constant(1.0), _square(t)))
    slope = op.multiply(constant(0.5), op.add(op.add(constant(1.0), t), bent))
    return [op.multiply(r.dy, slope).output(0)]


def _square(x: Any) -> Any:
    return op.multiply(x, x)


RULES: dict[str, BackwardRule] = {
    "Add2": _add,
    "AddScalar": _pass_on,
    "Div2": _div,
    "Erf": _erf,
    "Exp": _exp,
    "GELU": _gelu_tanh,
    "Identity": _pass_on,
    "Mul2": _mul,
    "MulScalar": _scale,
    "PowScalar": _power,
    "ReLU": _relu,
    "Sigmoid": _sigmoid,
    "Sub2": _sub,
    "Swish": _swish,
    "Tanh": _tanh,
}
