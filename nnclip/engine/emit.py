"""What every lowering rule works with: one call of the graph, and helpers to keep the batch free.

The NNabla graph was built for one batch size (the *nominal* one); the compiled model shall take
any. OpenVINO's own shape inference carries the free axis along; only a few operations write the
batch size down as a number (a reshape, a slice, a folded constant), and the helpers undo that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from openvino import Output, Type
from openvino import opset15 as op

from nnclip.errors import UnsupportedOpError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One NNabla function about to be written as OpenVINO nodes.

    Attributes:
        type: NNabla's name of the function type.
        args: The function's arguments as NNabla's `function.info.args` gives them.
        inputs: One OpenVINO value per operand.
        constants: The operand's array where it depends on no input of the graph, else None.
        in_shapes: Operand shapes at the nominal batch size.
        out_shapes: Result shapes at the nominal batch size.
        batch: The nominal batch size, or None if all shapes are meant literally.
    """

    type: str
    args: dict[str, Any]
    inputs: list[Output]
    constants: list[np.ndarray | None]
    in_shapes: list[Shape]
    out_shapes: list[Shape]
    batch: int | None

    @property
    def x(self) -> Output:
        """The first operand."""
        return self.inputs[0]

    def refuse(self, why: str) -> UnsupportedOpError:
        """Make the error for a call that cannot be compiled."""
        return UnsupportedOpError(f"{self.type}{self.args} of {self.in_shapes} {why}")


Rule = Callable[[Call], "Output | list[Output]"]


def constant(values: ArrayLike, dtype: Any = None) -> Output:
    """Make a constant; a large array is shared with its owner, not copied."""
    array = np.asarray(values, dtype=dtype, order="C")
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.ndim == 0 or array.size < 1024:
        return op.constant(array).output(0)
    return op.constant(array, shared_memory=True).output(0)


def widened(x: Output) -> Output:
    """A constant as float32; of one in half precision only what is read of it is widened.

    The mark is what OpenVINO's own compression to half precision leaves: a gather then comes
    before the conversion, and the constant stays as it is, where it is.
    """
    if x.get_element_type() != Type.f16:
        return x
    node = op.convert(x, Type.f32)
    node.get_rt_info()["decompression_0"] = ""
    return node.output(0)


def integers(values: ArrayLike) -> Output:
    """Make an int64 constant, as OpenVINO wants for axes, shapes and bounds."""
    return op.constant(np.asarray(values, dtype=np.int64)).output(0)


def as_float(x: Output) -> Output:
    """Convert an integer or boolean value to float32, leave a float one alone."""
    return x if x.get_element_type().is_real() else op.convert(x, "f32").output(0)


def as_index(x: Output) -> Output:
    """Convert a float value that holds positions to int32, leave an integer one alone."""
    return op.convert(x, "i32").output(0) if x.get_element_type().is_real() else x


def free_axes(x: Output) -> list[int]:
    """The axes of a value that a batch may make any length."""
    return [i for i, d in enumerate(x.get_partial_shape()) if d.is_dynamic]


def batch_axis(x: Output) -> int | None:
    """Tell which axis of a value is the batch, None if it has none.

    Raises:
        UnsupportedOpError: If two axes are free, as in a table of all pairs of the batch.
    """
    free = free_axes(x)
    if len(free) > 1:
        raise UnsupportedOpError(
            f"a value has the batch on axes {free}: compile this graph with dynamic_batch=False"
        )
    return free[0] if free else None


def reshape(x: Output, source: Shape, target: Shape, batch: int | None) -> Output:
    """Reshape a value from one nominal shape to another, with the batch axis left free.

    The number of values outside the batch axis (everything before it) is the same before and
    after a reshape; that tells where the batch went, for any nominal batch size of two or more.

    Raises:
        UnsupportedOpError: If the target mixes the batch with an axis before it.
    """
    if batch and len(free_axes(x)) > 1:
        return _moved_ones(x, source, target)
    axis = batch_axis(x) if batch else None
    pattern = list(target)
    if axis is not None and batch:
        outside = math.prod(source[:axis])
        for i, size in enumerate(target):
            before = math.prod(target[:i])
            if before == outside and size % batch == 0:
                pattern[i] = -1
                break
            if before * size > outside:
                raise UnsupportedOpError(
                    f"a reshape of {source} to {target} folds the batch (axis {axis}) into an "
                    "axis before it: compile this graph with dynamic_batch=False"
                )
    return op.reshape(x, integers(pattern), special_zero=False).output(0)


def _moved_ones(x: Output, source: Shape, target: Shape) -> Output:
    """Reshape a table of all pairs of two batches, of which only axes of length 1 may move."""
    if [n for n in source if n != 1] != [n for n in target if n != 1]:
        raise UnsupportedOpError(
            f"a reshape of {source} to {target} has the batch on axes {free_axes(x)}: compile this "
            "graph with dynamic_batch=False"
        )
    for make, shape in ((op.squeeze, source), (op.unsqueeze, target)):
        ones = [i for i, n in enumerate(shape) if n == 1]
        x = make(x, integers(ones)).output(0) if ones else x
    return x


def without_batch(array: np.ndarray, axis: int, batch: int | None) -> np.ndarray:
    """Shorten a folded constant to length 1 along the batch axis, which it may only repeat.

    Raises:
        UnsupportedOpError: If it differs along that axis: it would fit one batch size only.
    """
    if batch is None or array.shape[axis] == 1:
        return array
    first = np.take(array, [0], axis=axis)
    if not np.array_equal(np.broadcast_to(first, array.shape), array, equal_nan=True):
        raise UnsupportedOpError(
            f"a constant of shape {array.shape} differs along the batch axis {axis}: "
            "compile this graph with dynamic_batch=False"
        )
    return first


def aligned(call: Call) -> list[Output]:
    """Operands of an element-wise call as floats, constants freed of the batch size."""
    live = [x for x, c in zip(call.inputs, call.constants, strict=True) if c is None]
    axes = {axis for x in live for axis in free_axes(x)}
    values = []
    for x, array in zip(call.inputs, call.constants, strict=True):
        if array is not None and call.batch:
            for axis in axes:
                array = without_batch(array, axis, call.batch)
            x = constant(array)
        values.append(as_float(x))
    return values


def axes_of(axes: Sequence[int] | int, ndim: int) -> list[int]:
    """Write axes as non-negative numbers."""
    axes = [axes] if isinstance(axes, int) else list(axes)
    return [a + ndim if a < 0 else a for a in axes]
