"""The table of the ONNX writer: OpenVINO's operation type -> how to write it as ONNX nodes.

The operations are those that `ops/` writes for NNabla's functions; a rule there that begins to use
another one needs an entry here, if graphs with it shall become ONNX.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from nnclip.engine.onnx_nodes import Names, Operation

Rule = Callable[[Operation], "str | Names"]


def _named(kind: str) -> Rule:
    """The same operands and no attributes, under another name."""
    return lambda o: o.write(kind, *o.inputs)


def _reduction(kind: str) -> Rule:
    return lambda o: o.write(kind, *o.inputs, keepdims=int(o.attributes["keep_dims"]))


def _along_axis(kind: str) -> Rule:
    return lambda o: o.write(kind, *o.inputs, axis=int(o.attributes["axis"]))


def _convert(o: Operation) -> str:
    return o.write("Cast", o.inputs[0], to=o.output_type)


def _reshape(o: Operation) -> str:
    # OpenVINO's special zero means "as it was", which is what ONNX does unless told otherwise
    return o.write("Reshape", *o.inputs, allowzero=int(not o.attributes["special_zero"]))


def _transpose(o: Operation) -> str:
    return o.write("Transpose", o.inputs[0], perm=o.array(1).tolist())


def _matmul(o: Operation) -> str:
    """ONNX multiplies what it is given: constants are turned here, other operands by a node."""
    operands = []
    for i, name in enumerate(("transpose_a", "transpose_b")):
        if not o.attributes[name]:
            operands.append(o.inputs[i])
        elif o.is_constant(i):
            operands.append(o.constant(np.swapaxes(o.array(i), -1, -2)))
        else:
            axes = list(range(o.rank(i)))
            operands.append(
                o.write("Transpose", o.inputs[i], perm=[*axes[:-2], axes[-1], axes[-2]])
            )
    return o.write("MatMul", *operands)


def _mvn(o: Operation) -> str:
    """To zero mean and unit variance; over the last axes, that is a layer normalisation."""
    rank, eps = o.rank(0), float(o.attributes["eps"])
    axes = sorted(int(axis) % rank for axis in np.atleast_1d(o.array(1)))
    sizes = [o.size(0, axis) for axis in axes]
    if axes == list(range(axes[0], rank)) and None not in sizes:
        ones = o.constant(np.ones([size or 1 for size in sizes], np.float32))
        return o.write("LayerNormalization", o.inputs[0], ones, axis=axes[0], epsilon=eps)
    over = o.constant(np.array(axes, np.int64))
    centred = o.write("Sub", o.inputs[0], o.write("ReduceMean", o.inputs[0], over, keepdims=1))
    variance = o.write("ReduceMean", o.write("Mul", centred, centred), over, keepdims=1)
    deviation = o.write("Sqrt", o.write("Add", variance, o.constant(np.float32(eps))))
    return o.write("Div", centred, deviation)


def _gather(o: Operation) -> str:
    if int(o.attributes["batch_dims"]):
        raise o.refuse("with batch_dims")
    return o.write("Gather", *o.inputs[:2], axis=int(o.array(2)))


def _slice(o: Operation) -> str:
    data, start, stop, step, *axes = o.inputs
    axes = axes or [o.constant(np.arange(o.rank(0), dtype=np.int64))]
    return o.write("Slice", data, start, stop, *axes, step)


def _split(o: Operation) -> Names:
    return o.write_many("Split", o.inputs[0], axis=int(o.array(1)), num_outputs=o.output_count)


def _pad(o: Operation) -> str:
    widths = o.constant(np.concatenate([o.array(1), o.array(2)]).astype(np.int64))
    mode = str(o.attributes["pad_mode"]).lower()
    return o.write("Pad", o.inputs[0], widths, *o.inputs[3:], mode=mode)


def _broadcast(o: Operation) -> str:
    return o.write("Expand", *o.inputs[:2])


def _scatter_update(o: Operation) -> str:
    if o.rank(0) != 1:
        raise o.refuse("into more than one axis")
    return o.write("ScatterElements", *o.inputs[:3], axis=0)


def _one_hot(o: Operation) -> str:
    on_off = o.constant(np.array([o.array(3), o.array(2)]))
    position = o.write("Cast", o.inputs[0], to=TensorProto.INT64)  # runtimes know no other
    return o.write("OneHot", position, o.inputs[1], on_off, axis=int(o.attributes["axis"]))


def _gather_nd(o: Operation) -> str:
    return o.write("GatherND", o.inputs[0], o.write("Cast", o.inputs[1], to=TensorProto.INT64))


def _cumsum(o: Operation) -> str:
    options = {name: int(o.attributes[name]) for name in ("exclusive", "reverse")}
    return o.write("CumSum", *o.inputs, **options)


def _pool(o: Operation) -> str | Names:
    a = o.attributes
    window = {"kernel_shape": list(a["kernel"]), "strides": list(a["strides"])}
    pads = [*a["pads_begin"], *a["pads_end"]]
    if o.kind == "AvgPool":
        inside = int(not a["exclude-pad"])
        return o.write("AveragePool", o.inputs[0], pads=pads, count_include_pad=inside, **window)
    values = o.write("MaxPool", o.inputs[0], pads=pads, dilations=list(a["dilations"]), **window)
    return [values] * o.output_count  # the second one, positions, is never read


def _convolution(o: Operation) -> str:
    """A filter of several groups has an axis for them in OpenVINO, none in ONNX."""
    a, weight, groups = o.attributes, o.inputs[1], 1
    turned = o.kind.endswith("BackpropData")
    if o.kind.startswith("Group"):
        w = o.array(1)
        groups = w.shape[0]
        weight = o.constant(w.reshape(-1, *w.shape[2:]))
    more = {"output_padding": list(a["output_padding"])} if turned else {}
    return o.write(
        "ConvTranspose" if turned else "Conv",
        *(o.inputs[0], weight),
        group=groups,
        strides=list(a["strides"]),
        dilations=list(a["dilations"]),
        pads=[*a["pads_begin"], *a["pads_end"]],
        **more,
    )


def _one_axis(kind: str) -> Rule:
    """ONNX wants a list of axes where OpenVINO also takes one number."""
    return lambda o: o.write(kind, o.inputs[0], o.constant(np.atleast_1d(o.array(1))))


def _not_equal(o: Operation) -> str:
    return o.write("Not", o.write("Equal", *o.inputs))


def _squared_difference(o: Operation) -> str:
    difference = o.write("Sub", *o.inputs)
    return o.write("Mul", difference, difference)


def _swish(o: Operation) -> str:
    return o.write("Mul", o.inputs[0], o.write("Sigmoid", o.inputs[0]))


def _gelu(o: Operation) -> str:
    """The tanh form; ONNX has a GELU of its own only since version 20."""
    if str(o.attributes["approximation_mode"]).lower() != "tanh":
        raise o.refuse("by the error function")
    x, half = o.inputs[0], o.constant(np.float32(0.5))
    cube = o.write("Mul", x, o.write("Mul", x, x))
    inside = o.write("Add", x, o.write("Mul", o.constant(np.float32(0.044715)), cube))
    inside = o.write("Mul", o.constant(np.float32(np.sqrt(2 / np.pi))), inside)
    share = o.write("Add", half, o.write("Mul", half, o.write("Tanh", inside)))
    return o.write("Mul", x, share)


def _round(o: Operation) -> str:
    """Halves away from zero; ONNX's own goes to even numbers."""
    if str(o.attributes["mode"]).lower() != "half_away_from_zero":
        return o.write("Round", o.inputs[0])
    away = o.write("Add", o.write("Abs", o.inputs[0]), o.constant(np.float32(0.5)))
    return o.write("Mul", o.write("Sign", o.inputs[0]), o.write("Floor", away))


def _selu(o: Operation) -> str:
    return o.write("Selu", o.inputs[0], alpha=float(o.array(1)), gamma=float(o.array(2)))


def _clamp(o: Operation) -> str:
    bounds = (o.constant(np.float32(o.attributes[name])) for name in ("min", "max"))
    return o.write("Clip", o.inputs[0], *bounds)


RULES: dict[str, Rule] = {
    "Abs": _named("Abs"),
    "Add": _named("Add"),
    "AvgPool": _pool,
    "Broadcast": _broadcast,
    "Ceiling": _named("Ceil"),
    "Clamp": _clamp,
    "Concat": _along_axis("Concat"),
    "Convert": _convert,
    "Convolution": _convolution,
    "ConvolutionBackpropData": _convolution,
    "Cos": _named("Cos"),
    "CumSum": _cumsum,
    "Divide": _named("Div"),
    "Elu": lambda o: o.write("Elu", o.inputs[0], alpha=float(o.attributes["alpha"])),
    "Equal": _named("Equal"),
    "Erf": _named("Erf"),
    "Exp": _named("Exp"),
    "Floor": _named("Floor"),
    "Gather": _gather,
    "GatherElements": _along_axis("GatherElements"),
    "GatherND": _gather_nd,
    "Gelu": _gelu,
    "Greater": _named("Greater"),
    "GreaterEqual": _named("GreaterOrEqual"),
    "GroupConvolution": _convolution,
    "GroupConvolutionBackpropData": _convolution,
    "Less": _named("Less"),
    "LessEqual": _named("LessOrEqual"),
    "Log": _named("Log"),
    "LogSoftmax": _along_axis("LogSoftmax"),
    "MVN": _mvn,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "Maximum": _named("Max"),
    "Minimum": _named("Min"),
    "Mish": _named("Mish"),
    "Multiply": _named("Mul"),
    "Negative": _named("Neg"),
    "NotEqual": _not_equal,
    "OneHot": _one_hot,
    "PRelu": _named("PRelu"),
    "Pad": _pad,
    "Power": _named("Pow"),
    "ReduceMax": _reduction("ReduceMax"),
    "ReduceMean": _reduction("ReduceMean"),
    "ReduceMin": _reduction("ReduceMin"),
    "ReduceProd": _reduction("ReduceProd"),
    "ReduceSum": _reduction("ReduceSum"),
    "Relu": _named("Relu"),
    "Reshape": _reshape,
    "Round": _round,
    "ScatterUpdate": _scatter_update,
    "Select": _named("Where"),
    "Selu": _selu,
    "ShapeOf": _named("Shape"),
    "Sigmoid": _named("Sigmoid"),
    "Sign": _named("Sign"),
    "Sin": _named("Sin"),
    "Slice": _slice,
    "SoftPlus": _named("Softplus"),
    "Softmax": _along_axis("Softmax"),
    "Split": _split,
    "Sqrt": _named("Sqrt"),
    "SquaredDifference": _squared_difference,
    "Squeeze": _one_axis("Squeeze"),
    "Subtract": _named("Sub"),
    "Swish": _swish,
    "Tanh": _named("Tanh"),
    "Tile": _named("Tile"),
    "Transpose": _transpose,
    "Unsqueeze": _one_axis("Unsqueeze"),
}
