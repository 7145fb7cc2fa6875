"""What every backward rule works with, and how a broadcast is undone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from openvino import Output
from openvino import opset15 as op

from nnclip.engine.emit import Call, Shape, constant, integers


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


def to_shape(x: Output, shape: Sequence[int]) -> Output:
    """Reshape a value."""
    return op.reshape(x, integers(list(shape)), special_zero=False).output(0)


def sum_rows(x: Output, shape: Shape, columns: int) -> Output:
    """Sum a value of `shape` down to its last `columns` numbers, as a product with ones.

    The product reads the value once, in the order it lies, on all cores; a reduction does not.
    """
    rows = math.prod(shape) // columns
    ones = constant(np.ones((1, rows), np.float32))
    return op.matmul(ones, to_shape(x, (rows, columns)), False, False).output(0)


def sum_to(x: Output, shape: Shape, target: Shape) -> Output:
    """Undo a broadcast: sum a value of `shape` over the axes where `target` has length 1."""
    axes = [i for i, (n, t) in enumerate(zip(shape, target, strict=True)) if t == 1 and n != 1]
    if not axes:
        return x
    kept = [i for i in range(len(shape)) if i not in axes and shape[i] != 1]
    if kept and min(kept) > max(axes):
        return to_shape(sum_rows(x, shape, math.prod(target)), target)
    return op.reduce_sum(x, integers(axes), True).output(0)
