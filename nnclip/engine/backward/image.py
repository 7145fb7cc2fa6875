"""Backward rules of convolution and pooling, images (N, C, H, W) only."""

from __future__ import annotations

import math

import numpy as np
from openvino import Output
from openvino import opset15 as op

from nnclip.engine.backward.reverse import BackwardRule, Gradients, Reverse, to_shape
from nnclip.engine.emit import Call, Shape, as_float, constant, integers


def _padded(x: Output, pad: list[int], value: float = 0.0) -> Output:
    if not any(pad):
        return x
    width = integers([0, 0, *pad])
    return op.pad(x, width, width, "constant", constant(np.float32(value))).output(0)


def _patches(x: Output, kernel: Shape, args: dict) -> Output:
    """Cut a padded image into the windows that a filter sees: (N, kh * kw * C, OH, OW)."""
    if math.prod(kernel) == math.prod(args["stride"]) == 1 and not any(args["pad"]):
        return x
    patches = op.extract_image_patches(
        _padded(x, args["pad"]), list(kernel), args["stride"], args["dilation"], "VALID"
    )
    return patches.output(0)


def _products(a: Output, b: Output) -> Output:
    """The sum over n and p of a[n, :, p] times b[n, :, p], of (N, A, P) and (N, B, P): (A, B).

    Either a product for each n, which makes N results to be summed, or one product after both
    were turned: what touches less memory.
    """
    batch, one, places = a.get_shape()
    other = b.get_shape()[1]
    if places * (one + other) > one * other:
        each = op.matmul(a, b, False, True)
        return op.reduce_sum(each, integers([0]), False).output(0)
    turned = [
        to_shape(op.transpose(x, integers([1, 0, 2])).output(0), (rows, batch * places))
        for x, rows in ((a, one), (b, other))
    ]
    return op.matmul(*turned, False, True).output(0)


def _convolution(r: Reverse) -> Gradients:
    """To the image a transposed convolution, to the filter one product over all windows."""
    call, args = r.call, r.call.args
    if len(call.in_shapes[0]) != 4 or args.get("channel_last"):
        raise call.refuse("is differentiated for images with channels first only")
    if args["group"] != 1:
        return _grouped(r, args["group"], call.in_shapes[1])
    (batch, channels, height, width), (out, _, *kernel) = call.in_shapes[:2]
    found: list[Output | None] = [None] * len(call.inputs)
    if r.wanted[0]:
        found[0] = op.convolution_backprop_data(
            r.dy,
            call.inputs[1],
            strides=args["stride"],
            output_shape=integers([height, width]),
            pads_begin=args["pad"],
            pads_end=args["pad"],
            dilations=args["dilation"],
        ).output(0)
    places = math.prod(call.out_shapes[0][2:])
    dy = to_shape(r.dy, (batch, out, places))
    if r.wanted[1]:
        seen = _patches(as_float(call.x), tuple(kernel), args)
        patches = to_shape(seen, (batch, channels * math.prod(kernel), places))
        total = to_shape(_products(dy, patches), (out, *kernel, channels))
        found[1] = op.transpose(total, integers([0, 3, 1, 2])).output(0)
    if len(found) == 3 and r.wanted[2]:
        found[2] = op.reduce_sum(dy, integers([0, 2]), False).output(0)
    return found


def _depthwise_convolution(r: Reverse) -> Gradients:
    if len(r.call.in_shapes[0]) != 4:
        raise r.call.refuse("is differentiated for images only")
    out, *kernel = r.call.in_shapes[1]
    return _grouped(r, r.call.in_shapes[0][1], (out, 1, *kernel))


def _grouped(r: Reverse, groups: int, shape: Shape) -> Gradients:
    """The same in groups; windows are not cut out, of a wide filter they would fill the memory.

    Args:
        r: the convolution.
        groups: their number.
        shape: of the filter: all output channels, input channels of a group, height, width.
    """
    call, args = r.call, r.call.args
    out, inside, *kernel = shape
    found: list[Output | None] = [None] * len(call.inputs)
    if r.wanted[0]:
        filters = to_shape(as_float(call.inputs[1]), (groups, out // groups, inside, *kernel))
        found[0] = _transposed(r.dy, filters, args, call.in_shapes[0][2:])
    if r.wanted[1]:
        x = _padded(as_float(call.x), args["pad"])
        places = [(i, j) for i in range(kernel[0]) for j in range(kernel[1])]
        sums = [_correlated(_seen(x, at, call), r.dy, groups) for at in places]
        total = op.concat([to_shape(one, (out, inside, 1)) for one in sums], 2).output(0)
        found[1] = to_shape(total, call.in_shapes[1])
    if len(found) == 3 and r.wanted[2]:
        found[2] = op.reduce_sum(r.dy, integers([0, 2, 3]), False).output(0)
    return found


def _seen(x: Output, at: tuple[int, int], call: Call) -> Output:
    """What one place of the filter sees of a padded image: (N, C, OH, OW)."""
    args, places = call.args, call.out_shapes[0][2:]
    start = [i * d for i, d in zip(at, args["dilation"], strict=True)]
    stop = [a + (n - 1) * s + 1 for a, n, s in zip(start, places, args["stride"], strict=True)]
    return op.slice(
        x, integers(start), integers(stop), integers(args["stride"]), integers([2, 3])
    ).output(0)


def _correlated(x: Output, dy: Output, groups: int) -> Output:
    """The sum over images and places of dy's channels times x's of the same group: (G, O, C)."""
    batch, channels, *places = x.get_shape()
    inside, out = channels // groups, dy.get_shape()[1] // groups
    if inside == 1:
        one = to_shape(x, (batch, groups, 1, *places))
        both = op.multiply(one, to_shape(dy, (batch, groups, out, *places)))
        return op.reduce_sum(both, integers([0, 3, 4]), False).output(0)
    turned = [
        to_shape(
            op.transpose(
                to_shape(v, (batch, groups, n, math.prod(places))), integers([1, 2, 0, 3])
            ).output(0),
            (groups, n, batch * math.prod(places)),
        )
        for v, n in ((dy, out), (x, inside))
    ]
    return op.matmul(*turned, False, True).output(0)


def _spread_windows(dy: Output, shape: Shape, args: dict, value: float) -> Output:
    """Give every pixel the sum over the windows that saw it, times `value`."""
    channels = shape[1]
    kernel = np.full((channels, 1, 1, *args["kernel"]), value, np.float32)
    return _transposed(dy, constant(kernel), args, shape[2:])


def _transposed(dy: Output, filters: Output, args: dict, size: Shape) -> Output:
    """Undo a convolution in groups of an image of `size`; filters are (G, O, C, kh, kw).

    Told the size of the image, OpenVINO would take other paddings than the given ones.
    """
    kernel, places = filters.get_shape()[3:], dy.get_shape()[2:]
    dilations = args.get("dilation", [1] * len(kernel))
    lacking = [
        n - ((m - 1) * s - 2 * p + d * (k - 1) + 1)
        for n, m, s, p, d, k in zip(
            size, places, args["stride"], args["pad"], dilations, kernel, strict=True
        )
    ]
    return op.group_convolution_backprop_data(
        dy,
        filters,
        strides=args["stride"],
        pads_begin=args["pad"],
        pads_end=args["pad"],
        dilations=dilations,
        output_padding=lacking,
    ).output(0)


def _average_pooling(r: Reverse) -> Gradients:
    args, shape = r.call.args, r.call.in_shapes[0]
    if any(args["pad"]) and not args["including_pad"]:
        shares = op.divide(r.dy, constant(_pixels_in_windows(r.call)))
        return [_spread_windows(shares.output(0), shape, args, 1.0)]
    return [_spread_windows(r.dy, shape, args, 1.0 / math.prod(args["kernel"]))]


def _pixels_in_windows(call: Call) -> np.ndarray:
    """How many pixels of the image each window sees, without padding: (OH, OW) float32."""
    args, counts = call.args, []
    for axis, (kernel, stride, pad) in enumerate(
        zip(args["kernel"], args["stride"], args["pad"], strict=True)
    ):
        start = np.arange(call.out_shapes[0][2 + axis]) * stride - pad
        stop = np.minimum(start + kernel, call.in_shapes[0][2 + axis])
        counts.append((stop - np.maximum(start, 0)).astype(np.float32))
    return np.outer(*counts)


def _sum_pooling(r: Reverse) -> Gradients:
    return [_spread_windows(r.dy, r.call.in_shapes[0], r.call.args, 1.0)]


def _global_average_pooling(r: Reverse) -> Gradients:
    shape = r.call.in_shapes[0]
    share = op.multiply(r.dy, constant(np.float32(1.0 / math.prod(shape[2:]))))
    return [op.broadcast(share, integers(shape)).output(0)]


def _max_pooling(r: Reverse) -> Gradients:
    """Scatter each gradient to the place its maximum came from."""
    args, shape = r.call.args, r.call.in_shapes[0]
    ones = [1] * len(args["kernel"])
    pooled = op.max_pool(
        as_float(r.call.x), args["stride"], ones, args["pad"], args["pad"], args["kernel"]
    )
    size = math.prod(shape)
    zeros = op.broadcast(constant(np.float32(0)), integers([size]))
    places, dy = to_shape(pooled.output(1), (-1,)), to_shape(r.dy, (-1,))
    summed = op.scatter_elements_update(zeros, places, dy, integers(0), "sum")
    return [to_shape(summed.output(0), shape)]


RULES: dict[str, BackwardRule] = {
    "AveragePooling": _average_pooling,
    "Convolution": _convolution,
    "DepthwiseConvolution": _depthwise_convolution,
    "GlobalAveragePooling": _global_average_pooling,
    "MaxPooling": _max_pooling,
    "SumPooling": _sum_pooling,
}
