"""Variables and functions of a recorded graph: what the compiler reads of NNabla's.

A function keeps its type, arguments, inputs and output shapes. Nothing runs when it is called;
`Variable.forward` computes those few functions that constants go through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from nnclip.extras import how

Shape = tuple[int, ...]
Compute = Callable[..., "np.ndarray | list[np.ndarray]"]


@dataclass(frozen=True)
class Info:
    """What `Function.info` gives in NNabla.

    Attributes:
        type_name: the type of the function.
        args: its arguments.
    """

    type_name: str
    args: dict[str, Any]


class Function:
    """One recorded call.

    Attributes:
        info: type and arguments.
        inputs: Variables that it reads.
        outputs: Variables that it gives.
    """

    def __init__(
        self,
        type_name: str,
        args: dict[str, Any],
        inputs: Sequence[Variable],
        shapes: Sequence[Shape],
        compute: Compute | None,
    ) -> None:
        self.info = Info(type_name, args)
        self.inputs = list(inputs)
        self.outputs = [Variable(shape, parent=self) for shape in shapes]
        self._compute = compute

    def forward(self) -> None:
        """Compute the outputs; NotImplementedError where only the compiler knows how."""
        if self._compute is None:
            raise NotImplementedError(
                f"{self.info.type_name} of constants is computed by NNabla only: {how('train')}"
            )
        found = self._compute(*(v.d for v in self.inputs))
        results = found if isinstance(found, list) else [found]
        for variable, result in zip(self.outputs, results, strict=True):
            variable.d = result


class Variable:
    """An array to come.

    Attributes:
        shape: its shape.
        need_grad: whether a solver may move it.
        parent: the function that gives it, None for an input or a parameter.
    """

    def __init__(
        self,
        shape: Sequence[int] = (),
        need_grad: bool = False,
        parent: Function | None = None,
    ) -> None:
        self.shape = tuple(int(n) for n in shape)
        self.need_grad = need_grad
        self.parent = parent
        self._array: np.ndarray | None = None

    @classmethod
    def from_numpy_array(cls, array: np.ndarray, need_grad: bool = False) -> Variable:
        """A Variable that holds a copy of `array` as float32."""
        variable = cls(np.shape(array), need_grad)
        variable.d = array
        return variable

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def d(self) -> np.ndarray:
        """The values, float32; zeros before they are set. A view, as in NNabla."""
        if self._array is None:
            self._array = np.zeros(self.shape, np.float32)
        return self._array

    @d.setter
    def d(self, values: Any) -> None:
        self.d[...] = values

    @property
    def data(self) -> SimpleNamespace:
        """What holds the values: `data.data` is `d`."""
        return SimpleNamespace(data=self.d)

    def forward(self) -> None:
        """Compute the values of this Variable from those of the constants that it depends on."""
        if self.parent is not None:
            for variable in self.parent.inputs:
                variable.forward()
            self.parent.forward()

    def __getitem__(self, key: Any) -> Variable:
        return _item(self, key)

    def __add__(self, other: Any) -> Variable:
        return _binary("Add2", "AddScalar", self, other, 1)

    def __radd__(self, other: float) -> Variable:
        return self + other

    def __sub__(self, other: Any) -> Variable:
        return _binary("Sub2", "AddScalar", self, other, -1)

    def __rsub__(self, other: float) -> Variable:
        return _scalar("RSubScalar", self, other)

    def __mul__(self, other: Any) -> Variable:
        return _binary("Mul2", "MulScalar", self, other, 1)

    def __rmul__(self, other: float) -> Variable:
        return self * other

    def __truediv__(self, other: Any) -> Variable:
        if isinstance(other, Variable):
            return elementwise("Div2", self, other)
        return _scalar("MulScalar", self, 1 / other)

    def __rtruediv__(self, other: float) -> Variable:
        return _scalar("RDivScalar", self, other)

    def __pow__(self, other: Any) -> Variable:
        return _binary("Pow2", "PowScalar", self, other, 1)

    def __neg__(self) -> Variable:
        return _scalar("MulScalar", self, -1.0)


# Arithmetic of constants: type -> the function of its operands, or of its operand and its number.
ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "Add2": np.add,
    "Sub2": np.subtract,
    "Mul2": np.multiply,
    "Div2": np.divide,
    "Pow2": np.power,
    "AddScalar": np.add,
    "MulScalar": np.multiply,
    "PowScalar": np.power,
    "RSubScalar": lambda x, value: value - x,
    "RDivScalar": lambda x, value: value / x,
}


def elementwise(kind: str, x: Variable, y: Variable) -> Variable:
    """Record an operation of two Variables whose axes of length 1 are broadcast."""
    if x.ndim != y.ndim:
        raise ValueError(f"{kind}: found shapes {x.shape} and {y.shape}, expected as many axes")
    shape = np.broadcast_shapes(x.shape, y.shape)
    return Function(kind, {"inplace": False}, [x, y], [shape], ARITHMETIC[kind]).outputs[0]


def _scalar(kind: str, x: Variable, value: float) -> Variable:
    args: dict[str, Any] = {"val": float(value)}
    if not kind.startswith("R"):
        args["inplace"] = False
    number = np.float32(value)
    return Function(kind, args, [x], [x.shape], lambda a: ARITHMETIC[kind](a, number)).outputs[0]


def _binary(two: str, one: str, x: Variable, other: Any, sign: int) -> Variable:
    if isinstance(other, Variable):
        return elementwise(two, x, other)
    return _scalar(one, x, sign * other)


def record(
    kind: str,
    args: dict[str, Any],
    inputs: Sequence[Variable],
    shape: Shape,
    compute: Compute | None = None,
) -> Variable:
    """Record a function with one output."""
    return Function(kind, args, inputs, [shape], compute).outputs[0]


def reshape(x: Variable, shape: Sequence[int], inplace: bool = True) -> Variable:
    """Other axes for the same values; one of them may be -1."""
    known = math.prod(n for n in shape if n != -1)
    full = tuple(x.size // known if n == -1 else int(n) for n in shape)
    if math.prod(full) != x.size:
        raise ValueError(f"reshape: found shape {x.shape}, cannot become {tuple(shape)}")
    args = {"shape": [int(n) for n in shape], "inplace": inplace}
    return record("Reshape", args, [x], full, lambda a: a.reshape(full))


def sliced(
    x: Variable, start: Sequence[int], stop: Sequence[int], step: Sequence[int] | None = None
) -> Variable:
    """From `start` to `stop` along every axis."""
    step = list(step or [1] * x.ndim)
    where = tuple(map(slice, start, stop, step))
    shape = tuple(len(range(*w.indices(n))) for w, n in zip(where, x.shape, strict=True))
    args = {"start": list(start), "stop": list(stop), "step": step}
    return record("Slice", args, [x], shape, lambda a: a[where])


def _item(x: Variable, key: Any) -> Variable:
    """`x[key]` for slices, integers and an ellipsis."""
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        keys[at : at + 1] = [slice(None)] * (x.ndim - len(keys) + 1)
    keys += [slice(None)] * (x.ndim - len(keys))
    start, stop, step, kept = [], [], [], []
    for k, size in zip(keys, x.shape, strict=True):
        if isinstance(k, slice):
            start.append(0 if k.start is None else k.start)
            stop.append(size if k.stop is None else k.stop)
            step.append(1 if k.step is None else k.step)
            kept.append(True)
        else:
            start.append(k)
            stop.append(k + 1 if k != -1 else size)
            step.append(1)
            kept.append(False)
    part = sliced(x, start, stop, step)
    if all(kept):
        return part
    return reshape(part, [n for n, keep in zip(part.shape, kept, strict=True) if keep])
