"""Products: affine layers, batched matrix products, convolutions."""

from __future__ import annotations

import math

import numpy as np
from openvino import Node
from openvino import opset15 as op

from nnclip.engine.emit import (
    Call,
    Output,
    Rule,
    as_float,
    batch_axis,
    constant,
    free_axes,
    integers,
    reshape,
    without_batch,
)


def _affine(call: Call) -> Output:
    """x W + b, the weight stored (out, in): the layout the CPU's products read fastest."""
    shape, base = call.in_shapes[0], call.args["base_axis"]
    base = base + len(shape) if base < 0 else base
    width = math.prod(shape[base:])
    x = reshape(as_float(call.x), shape, (*shape[:base], width), call.batch)
    weight = call.constants[1]
    if weight is not None:
        w = constant(weight.reshape(width, -1).T)
        y = op.matmul(x, w, False, True).output(0)
    else:
        w = op.reshape(call.inputs[1], integers([width, -1]), special_zero=False).output(0)
        y = op.matmul(x, w, False, False).output(0)
    if len(call.inputs) == 3:
        y = op.add(y, op.reshape(call.inputs[2], integers([-1]), special_zero=False)).output(0)
    flat = (*shape[:base], math.prod(call.out_shapes[0][base:]))
    return y if flat == call.out_shapes[0] else reshape(y, flat, call.out_shapes[0], call.batch)


def _matrices(call: Call, i: int, free: int | None) -> Output:
    """Operand `i` of a batched product; one matrix for the whole batch is passed as 2-D."""
    x, array, shape = call.inputs[i], call.constants[i], call.in_shapes[i]
    if array is not None and call.batch and free is not None:
        array = without_batch(array, free, call.batch)
        shape = array.shape
    if i == 1 and math.prod(shape[:-2]) == 1 and batch_axis(x) is None:
        if array is not None:
            return constant(array.reshape(shape[-2:]))
        return op.reshape(as_float(x), integers(shape[-2:]), special_zero=False).output(0)
    return as_float(x) if array is None else constant(array)


def _batch_matmul(call: Call) -> Output:
    axes = [batch_axis(x) for x in call.inputs] if call.batch else []
    free = next((a for a in axes if a is not None), None)
    # a free axis inside the matrices is no batch of products; constants then stay as they are
    free = free if free is not None and free < len(call.in_shapes[0]) - 2 else None
    a, b = (_matrices(call, i, free) for i in (0, 1))
    return op.matmul(a, b, call.args["transpose_a"], call.args["transpose_b"]).output(0)


def unflattened(y: Output) -> Output:
    """Rows that were flattened for a product and shaped back, multiplied without that.

    (N, L, D) -> (1, N * L, D) -> (1, N * L, O) -> (N, L, O) is (N, L, D) -> (N, L, O). Where N is
    free, OpenVINO keeps those reshapes and fuses no activation with the product before them: of
    one image that takes 3 % of the time.

    Returns: the product, and the bias added to it; `y` itself where it is anything else.
    """
    biased = _above(y, "Reshape", "Add", "MatMul", "Reshape")
    found = biased or _above(y, "Reshape", "MatMul", "Reshape")
    if not found:
        return y
    *_, product, flatten = found
    x, (flat, weight) = flatten.input_value(0), product.input_values()
    bias = biased[1].input_value(1) if biased else None
    turned = product.get_attributes()
    if (
        turned["transpose_a"]
        or len(weight.get_partial_shape()) != 2
        or x.get_partial_shape()[-1] != flat.get_partial_shape()[-1]
        or len(free_axes(x)) != 1  # with one, N is the same before and after
        or (bias is not None and any(n != 1 for n in list(bias.get_partial_shape())[:-1]))
    ):
        return y
    z = op.matmul(x, weight, False, turned["transpose_b"]).output(0)
    if bias is not None:
        z = op.add(z, bias).output(0)
    return z if z.get_partial_shape() == y.get_partial_shape() else y


def _above(y: Output, *types: str) -> list[Node]:
    """The nodes above a value, each the first operand of the one before, if of these types."""
    nodes = []
    for kind in types:
        nodes.append(y.get_node())
        if nodes[-1].get_type_name() != kind:
            return []
        y = nodes[-1].input_value(0)
    return nodes


def _filter(call: Call, groups: int) -> Output:
    """The filter, with its first axis split into groups where there are several."""
    shape = call.in_shapes[1]
    if groups > 1:
        shape = (groups, shape[0] // groups, *shape[1:])
    if call.constants[1] is not None:
        return constant(call.constants[1].reshape(shape))
    return op.reshape(call.inputs[1], integers(shape), special_zero=False).output(0)


def _add_bias(call: Call, y: Output) -> Output:
    if len(call.inputs) < 3:
        return y
    shape = [1, -1] + [1] * (len(call.out_shapes[0]) - 2)
    return op.add(y, op.reshape(call.inputs[2], integers(shape), special_zero=False)).output(0)


def _check_layout(call: Call) -> None:
    if call.args.get("channel_last"):
        raise call.refuse("has its channels last: only channels first can be compiled")
    if call.args["base_axis"] not in (1, 1 - len(call.in_shapes[0])):
        raise call.refuse("has more than one batch axis: only base_axis=1 can be compiled")


def _convolution(call: Call) -> Output:
    _check_layout(call)
    a, groups = call.args, call.args["group"]
    make = op.group_convolution if groups > 1 else op.convolution
    y = make(
        as_float(call.x), _filter(call, groups), a["stride"], a["pad"], a["pad"], a["dilation"]
    )
    return _add_bias(call, y.output(0))


def _depthwise_convolution(call: Call) -> Output:
    _check_layout(call)
    a, channels = call.args, call.in_shapes[0][1]
    shape = (channels, call.args["multiplier"], 1, *call.in_shapes[1][1:])
    if call.constants[1] is not None:
        w = constant(call.constants[1].reshape(shape))
    else:
        w = op.reshape(call.inputs[1], integers(shape), special_zero=False).output(0)
    y = op.group_convolution(as_float(call.x), w, a["stride"], a["pad"], a["pad"], a["dilation"])
    return _add_bias(call, y.output(0))


def _deconvolution(call: Call) -> Output:
    _check_layout(call)
    a, groups = call.args, call.args["group"]
    make = op.group_convolution_backprop_data if groups > 1 else op.convolution_backprop_data
    y = make(
        as_float(call.x),
        _filter(call, groups),
        strides=np.array(a["stride"]),
        pads_begin=np.array(a["pad"]),
        pads_end=np.array(a["pad"]),
        dilations=np.array(a["dilation"]),
        output_padding=np.array(a["output_padding"]),
    )
    return _add_bias(call, y.output(0))


RULES: dict[str, Rule] = {
    "Affine": _affine,
    "BatchMatmul": _batch_matmul,
    "Convolution": _convolution,
    "Deconvolution": _deconvolution,
    "DepthwiseConvolution": _depthwise_convolution,
}
