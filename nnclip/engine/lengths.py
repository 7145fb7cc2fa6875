"""Let a second axis be free: texts of any length by one compiled graph, instead of one for each.

The graph is emitted twice, for the greatest length and for a shorter one. What differs between the
two is what the length decides: an entry of a shape is computed from the input, and of a constant
(positions, a mask) the beginning is taken, after seeing that the shorter graph's is just that.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from openvino import PartialShape
from openvino import opset15 as op

from nnclip.engine.arrays import InputSpec
from nnclip.engine.emit import Output, integers
from nnclip.engine.emitted import EmittedGraph
from nnclip.errors import ConfigError, UnsupportedOpError


def merged(longest: EmittedGraph, shorter: EmittedGraph) -> tuple[InputSpec, ...]:
    """Change the model of `longest` to one for all lengths; what its inputs take then.

    Arguments and errors are those of `free_length`.
    """
    long, short = longest.model.get_ordered_ops(), shorter.model.get_ordered_ops()
    if [o.get_type_name() for o in long] != [o.get_type_name() for o in short]:
        raise UnsupportedOpError("graphs for two lengths do not consist of the same operations")
    of_length = [
        i
        for i, (a, b) in enumerate(zip(longest.specs, shorter.specs, strict=True))
        if a.shape[1:2] != b.shape[1:2]
    ]
    if not of_length:
        raise ConfigError("found no input of another length, expected two graphs for two lengths")
    first = of_length[0]
    free = _FreeAxis(
        most=longest.specs[first].shape[1],
        less=shorter.specs[first].shape[1],
        now=op.gather(
            op.shape_of(longest.model.get_parameters()[first]), integers([1]), integers(0)
        ).output(0),
    )
    for one, other in zip(long, short, strict=True):
        if one.get_type_name() == "Constant":
            readers = one.output(0).get_target_inputs()
            value = free.constant(one, other.data)
            for reader in readers if value is not None else ():
                reader.replace_source_output(value)
    specs = list(longest.specs)
    for i in of_length:
        batch, most, *rest = specs[i].shape
        specs[i] = replace(specs[i], shape=(batch, None, *rest), longest=most)
        shape = [-1 if n is None else n for n in specs[i].shape]
        longest.model.get_parameters()[i].set_partial_shape(PartialShape(shape))
    longest.model.validate_nodes_and_infer_types()
    return tuple(specs)


@dataclass
class _FreeAxis:
    """The length: in the longest graph, in the shorter one, and as the value it has in a call."""

    most: int | None
    less: int | None
    now: Output
    shapes: dict[tuple[int, ...], Output] = field(default_factory=dict)

    def constant(self, node: Any, short: np.ndarray) -> Output | None:
        """What stands for a constant at any length; None if it is the same at each."""
        long = node.data
        if long.shape == short.shape and (_one(long, short) or np.array_equal(long, short)):
            return None
        axes = [i for i, (a, b) in enumerate(zip(long.shape, short.shape, strict=False)) if a != b]
        if long.shape == short.shape and long.dtype == np.int64 and long.ndim == 1:
            return self._shape(long, short)
        beginning = long[tuple(slice(n) for n in short.shape)] if long.ndim == short.ndim else None
        known = all((long.shape[i], short.shape[i]) == (self.most, self.less) for i in axes)
        if beginning is None or not known or not np.array_equal(beginning, short):
            raise UnsupportedOpError(
                f"a constant of shape {long.shape} is not the longer form of one of {short.shape}"
            )
        count = len(axes)
        stop = op.concat([self.now] * count, 0)
        start, step = integers([0] * count), integers([1] * count)
        return op.slice(node.output(0), start, stop, step, integers(axes)).output(0)

    def _shape(self, long: np.ndarray, short: np.ndarray) -> Output:
        """A shape (or the bounds of a slice) in which some entries are the length."""
        differs = long != short
        if set(long[differs]) != {self.most} or set(short[differs]) != {self.less}:
            raise UnsupportedOpError(f"the shapes {long} and {short} differ by more than a length")
        key = tuple(int(n) for n in np.where(differs, np.iinfo(np.int64).min, long))
        if key not in self.shapes:
            entries = zip(long, differs, strict=True)
            parts = [self.now if d else integers([n]) for n, d in entries]
            self.shapes[key] = op.concat(parts, 0).output(0)
        return self.shapes[key]


def _one(array: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays of one shape are the same memory: a large table is then not read."""
    same = array.dtype == other.dtype and array.strides == other.strides
    return same and array.ctypes.data == other.ctypes.data
