"""Read an NNabla graph: which functions lie between inputs and outputs, and in what order.

Nothing here knows OpenVINO. The walk is our own rather than `Variable.visit` because it has to
stop at the named inputs: a feature may be the output of one graph and the input of another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnclip.forks import NNABLA_LOCK
from nnclip.nnabla import Function, nn

# Types whose value changes from run to run: folding them into constants would freeze the dice.
RANDOM_TYPES = frozenset(
    {
        "Dropout",
        "ImageAugmentation",
        "Rand",
        "RandBeta",
        "RandBinomial",
        "RandExponential",
        "RandGamma",
        "Randint",
        "Randn",
        "RandomChoice",
        "RandomCrop",
        "RandomErase",
        "RandomFlip",
        "RandomShift",
        "VATNoise",
    }
)

# Operands that hold positions in a table: (type, input index). Their values are integers.
INDEX_OPERANDS = frozenset(
    {
        ("Embed", 0),
        ("OneHot", 0),
        ("Gather", 1),
        ("GatherNd", 1),
        ("SoftmaxCrossEntropy", 1),
    }
)
# Types that only move values about, so that an index stays an index.
MOVING_TYPES = frozenset(
    ("Concatenate", "Identity", "Reshape", "Slice", "Split", "Stack", "Transpose")
)

# Types whose result is a view of a NumPy array: (array, arguments, number of the output) -> view.
VIEWS: dict[str, Callable[[np.ndarray, dict[str, Any], int], np.ndarray]] = {
    "Reshape": lambda array, args, _: array.reshape(args["shape"]),
    "Slice": lambda array, args, _: array[
        tuple(map(slice, args["start"], args["stop"], args["step"]))
    ],
    "Split": lambda array, args, number: np.moveaxis(array, args["axis"], 0)[number],
    "Transpose": lambda array, args, _: array.transpose(args["axes"]),
}


@dataclass(frozen=True)
class Trace:
    """The part of a graph that depends on its inputs.

    Attributes:
        functions: Functions that depend on an input, every one after those it reads from.
        variable: Variables whose value depends on an input (the inputs included).
    """

    functions: list[Function]
    variable: set[nn.Variable]


def ordered_functions(
    outputs: Iterable[nn.Variable], stop: Collection[nn.Variable]
) -> list[Function]:
    """List the functions that lead to `outputs`, sources first, not walking past `stop`."""
    order: list[Function] = []
    seen: set[Function] = set()
    stack = [(v.parent, False) for v in outputs if v not in stop and v.parent is not None]
    while stack:
        function, ready = stack.pop()
        if ready:
            order.append(function)
            continue
        if function in seen:
            continue
        seen.add(function)
        stack.append((function, True))
        for v in function.inputs:
            if v not in stop and v.parent is not None and v.parent not in seen:
                stack.append((v.parent, False))
    return order


def trace(inputs: Collection[nn.Variable], outputs: Iterable[nn.Variable]) -> Trace:
    """Find the functions between `inputs` and `outputs`; the rest of the graph is constant."""
    variable = set(inputs)
    functions = []
    for function in ordered_functions(outputs, variable):
        random = function.info.type_name in RANDOM_TYPES
        if random or any(v in variable for v in function.inputs):
            functions.append(function)
            variable.update(function.outputs)
    return Trace(functions, variable)


def index_rows(functions: list[Function]) -> dict[nn.Variable, int | None]:
    """Find the variables that hold table positions, seen through functions that only move them.

    Returns:
        For each, the number of rows of the smallest table it is looked up in; None if unknown.
    """
    rows: dict[nn.Variable, int | None] = {}

    def add(variable: nn.Variable, size: int | None) -> None:
        known = [n for n in (rows.get(variable), size) if n is not None]
        rows[variable] = min(known, default=None)

    for function in reversed(functions):
        kind = function.info.type_name
        for i, v in enumerate(function.inputs):
            if (kind, i) in INDEX_OPERANDS:
                add(v, _rows(function))
            if kind in MOVING_TYPES:
                for output in function.outputs:
                    if output in rows:
                        add(v, rows[output])
    return rows


def _rows(function: Function) -> int | None:
    """How many positions a look-up knows; None if negative ones have a meaning there as well."""
    if function.info.type_name == "Embed":
        return function.inputs[1].shape[0]
    if function.info.type_name == "SoftmaxCrossEntropy":
        return function.inputs[0].shape[function.info.args["axis"]]
    return None


def fold(variable: nn.Variable, values: Mapping[nn.Variable, np.ndarray]) -> np.ndarray:
    """Compute a variable that depends on no input; what only moves values about is a view.

    Args:
        variable: What to compute.
        values: Arrays to take instead of what Variables hold.

    Returns:
        A view of `values` where possible, else a copy: float32, or the integer type it holds. What
        is written to NNabla's own memory later does not reach it.
    """
    if variable in values:
        return values[variable]
    function = variable.parent
    if function is not None and function.info.type_name in VIEWS:
        number = function.outputs.index(variable)
        source = fold(function.inputs[0], values)
        return VIEWS[function.info.type_name](source, function.info.args, number)
    with NNABLA_LOCK:
        if function is not None:
            for f in ordered_functions([variable], ()):
                for v in f.inputs:
                    if v in values:
                        v.d = values[v]
            variable.forward()
        array = variable.data.data
        return np.array(array, dtype=np.float32 if array.dtype.kind == "f" else None)
