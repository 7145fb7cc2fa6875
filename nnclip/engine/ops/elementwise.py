"""Operations that treat every value by itself: arithmetic, activations, comparisons."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from openvino import opset15 as op

from nnclip.engine.emit import Call, Output, Rule, aligned, as_float, constant

Make = Callable[..., Any]


def _unary(make: Make) -> Rule:
    return lambda call: make(as_float(call.x)).output(0)


def _binary(make: Make) -> Rule:
    return lambda call: make(*aligned(call)).output(0)


def _scalar(make: Make) -> Rule:
    """Make a rule of `make(x, value)`."""
    return lambda call: make(as_float(call.x), constant(call.args["val"], "float32")).output(0)


def _scalar_first(make: Make) -> Rule:
    """Make a rule of `make(value, x)`."""
    return lambda call: make(constant(call.args["val"], "float32"), as_float(call.x)).output(0)


def _many(make: Make) -> Rule:
    return lambda call: functools.reduce(lambda a, b: make(a, b).output(0), aligned(call))


def _truth(make: Make) -> Make:
    """NNabla's comparisons give 1.0 and 0.0, not booleans."""
    return lambda *xs: op.convert(make(*xs), "f32")


def _power(call: Call) -> Output:
    """A power; the common ones are written as what they are, which is faster and exact."""
    x, value = as_float(call.x), call.args["val"]
    if value == 1:
        return x
    if value == 2:
        return op.multiply(x, x).output(0)
    if value == 0.5:
        return op.sqrt(x).output(0)
    if value == -1:
        return op.divide(constant(1.0), x).output(0)
    return op.power(x, constant(value, "float32")).output(0)


def _where(call: Call) -> Output:
    condition, yes, no = aligned(call)
    # NNabla lets the condition lack trailing axes.
    for _ in range(len(call.in_shapes[1]) - len(call.in_shapes[0])):
        condition = op.unsqueeze(condition, constant(-1, "int64")).output(0)
    return op.select(op.not_equal(condition, constant(0.0)), yes, no).output(0)


def _prelu(call: Call) -> Output:
    slope = [1] * len(call.in_shapes[0])
    if call.in_shapes[1] != (1,):
        slope[call.args["base_axis"]] = -1
    return op.prelu(call.x, op.reshape(call.inputs[1], constant(slope, "int64"), False)).output(0)


def _softplus(call: Call) -> Output:
    beta = constant(call.args["beta"], "float32")
    return op.divide(op.softplus(op.multiply(as_float(call.x), beta)), beta).output(0)


def _log_sigmoid(x: Output) -> Any:
    return op.negative(op.softplus(op.negative(x)))


def _huber(call: Call) -> Output:
    """NNabla's Huber loss is twice the usual one: d^2 inside, delta*(2|d| - delta) outside."""
    delta = constant(call.args["delta"], "float32")
    distance = op.abs(op.subtract(*aligned(call)))
    outside = op.multiply(delta, op.subtract(op.multiply(constant(2.0), distance), delta))
    inside = op.multiply(distance, distance)
    return op.select(op.less(distance, delta), inside, outside).output(0)


def _sigmoid_cross_entropy(call: Call) -> Output:
    logit, label = aligned(call)
    # max(x, 0) - x*t + log(1 + exp(-|x|)): no overflow on either side
    tail = op.softplus(op.negative(op.abs(logit)))
    head = op.subtract(op.relu(logit), op.multiply(logit, label))
    return op.add(head, tail).output(0)


def _squared_error(call: Call) -> Output:
    return op.squared_difference(*aligned(call)).output(0)


def _identity(call: Call) -> Output:
    return call.x


def _zero_one(low: float, high: float, slope: float = 1.0, shift: float = 0.0) -> Make:
    return lambda x: op.clamp(
        op.add(op.multiply(x, constant(slope, "float32")), constant(shift, "float32")), low, high
    )


RULES: dict[str, Rule] = {
    "Identity": _identity,
    # one operand
    "Abs": _unary(op.abs),
    "Ceil": _unary(op.ceiling),
    "Cos": _unary(op.cos),
    "Erf": _unary(op.erf),
    "Exp": _unary(op.exp),
    "Floor": _unary(op.floor),
    "GELU": _unary(lambda x: op.gelu(x, "tanh")),
    "HardSigmoid": _unary(_zero_one(0.0, 1.0, 0.2, 0.5)),
    "HardTanh": _unary(_zero_one(-1.0, 1.0)),
    "Log": _unary(op.log),
    "LogSigmoid": _unary(_log_sigmoid),
    "Mish": _unary(op.mish),
    "ReLU": _unary(op.relu),
    "ReLU6": _unary(_zero_one(0.0, 6.0)),
    "Round": _unary(lambda x: op.round(x, "half_away_from_zero")),
    "Sigmoid": _unary(op.sigmoid),
    "Sign": _unary(op.sign),
    "Sin": _unary(op.sin),
    "Swish": _unary(op.swish),
    "Tanh": _unary(op.tanh),
    "ELU": lambda call: op.elu(as_float(call.x), call.args["alpha"]).output(0),
    "LeakyReLU": lambda call: op.prelu(as_float(call.x), constant(call.args["alpha"])).output(0),
    "PReLU": _prelu,
    "SELU": lambda call: op.selu(
        as_float(call.x),
        constant(call.args["alpha"], "float32"),
        constant(call.args["scale"], "float32"),
    ).output(0),
    "SoftPlus": _softplus,
    # an operand and a number
    "AddScalar": _scalar(op.add),
    "MulScalar": _scalar(op.multiply),
    "PowScalar": _power,
    "MaximumScalar": _scalar(op.maximum),
    "MinimumScalar": _scalar(op.minimum),
    "RSubScalar": _scalar_first(op.subtract),
    "RDivScalar": _scalar_first(op.divide),
    "RPowScalar": _scalar_first(op.power),
    "EqualScalar": _scalar(_truth(op.equal)),
    "NotEqualScalar": _scalar(_truth(op.not_equal)),
    "GreaterScalar": _scalar(_truth(op.greater)),
    "GreaterEqualScalar": _scalar(_truth(op.greater_equal)),
    "LessScalar": _scalar(_truth(op.less)),
    "LessEqualScalar": _scalar(_truth(op.less_equal)),
    # two or more operands
    "Add2": _binary(op.add),
    "Sub2": _binary(op.subtract),
    "Mul2": _binary(op.multiply),
    "Div2": _binary(op.divide),
    "Pow2": _binary(op.power),
    "Maximum2": _binary(op.maximum),
    "Minimum2": _binary(op.minimum),
    "Equal": _binary(_truth(op.equal)),
    "NotEqual": _binary(_truth(op.not_equal)),
    "Greater": _binary(_truth(op.greater)),
    "GreaterEqual": _binary(_truth(op.greater_equal)),
    "Less": _binary(_truth(op.less)),
    "LessEqual": _binary(_truth(op.less_equal)),
    "AddN": _many(op.add),
    "MulN": _many(op.multiply),
    "Where": _where,
    # losses that stay element-wise
    "AbsoluteError": _binary(lambda a, b: op.abs(op.subtract(a, b))),
    "HuberLoss": _huber,
    "SigmoidCrossEntropy": _sigmoid_cross_entropy,
    "SquaredError": _squared_error,
}
