"""Check the arrays that a graph is called with, before they reach code that would not notice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnclip.engine.trace import index_rows
from nnclip.errors import ConfigError, DataError
from nnclip.nnabla import Function, nn


@dataclass(frozen=True)
class InputSpec:
    """What one input of a graph takes.

    Attributes:
        name: Its keyword.
        shape: Its shape; None for the batch, which may have any size, and for a free length.
        integer: Whether it holds positions (ids, labels), not measurements.
        rows: Number of rows of the table that the positions index, if known.
        longest: The most that axis 1 may have, where it is free.
    """

    name: str
    shape: tuple[int | None, ...]
    integer: bool = False
    rows: int | None = None
    longest: int | None = None


def input_specs(
    inputs: Mapping[str, nn.Variable], functions: list[Function], dynamic_batch: bool
) -> tuple[InputSpec, ...]:
    """Describe the inputs of a traced graph."""
    rows = index_rows(functions)
    return tuple(
        InputSpec(
            name,
            (None, *v.shape[1:]) if dynamic_batch else tuple(v.shape),
            v in rows,
            rows.get(v),
        )
        for name, v in inputs.items()
    )


def nominal_batch(inputs: Mapping[str, nn.Variable]) -> int:
    """The batch size that a graph was built for.

    Raises:
        ConfigError: If the inputs disagree, or it is 1, which reshapes could not tell from the
            other axes of length 1.
    """
    sizes = {name: v.shape[0] if v.ndim else 0 for name, v in inputs.items()}
    if len(set(sizes.values())) != 1 or min(sizes.values(), default=0) < 2:
        raise ConfigError(
            f"the first axes of the inputs are {sizes}; for a graph that takes any batch size, "
            "build it with one batch size of at least 2 for all inputs, or pass dynamic_batch=False"
        )
    return next(iter(sizes.values()))


def checked(
    specs: Sequence[InputSpec], arrays: Mapping[str, np.ndarray], finite: bool = True
) -> list[np.ndarray]:
    """Give the arrays in the order of the specs, contiguous, as float32 or int32.

    Args:
        specs: what is expected.
        arrays: what was given, by name.
        finite: look for NaN and infinity.

    Raises:
        DataError: If one is missing, unknown, of another shape or kind, holds NaN or infinity, or
            positions outside their table; or if the batch sizes differ.
    """
    names = [s.name for s in specs]
    if set(arrays) != set(names):
        raise DataError(f"got inputs {sorted(arrays)}; expected {sorted(names)}")
    result = [_checked(spec, arrays[spec.name], finite) for spec in specs]
    sizes = {s.name: len(a) for s, a in zip(specs, result, strict=True) if None in s.shape}
    if len(set(sizes.values())) > 1:
        raise DataError(f"the batch sizes differ: {sizes}; give as many of each")
    return result


def _checked(spec: InputSpec, array: np.ndarray, finite: bool) -> np.ndarray:
    array = np.asarray(array)
    fits = array.ndim == len(spec.shape) and all(
        want in (None, got) for want, got in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        wanted = tuple("N" if n is None else n for n in spec.shape)
        raise DataError(
            f"{spec.name} has shape {array.shape}; expected ({', '.join(map(str, wanted))})"
        )
    if spec.longest is not None and not 0 < array.shape[1] <= spec.longest:
        raise DataError(
            f"{spec.name} has shape {array.shape}; expected a length of 1 to {spec.longest}"
        )
    if spec.integer:
        return _checked_positions(spec, array)
    if array.dtype.kind != "f":
        raise DataError(f"{spec.name} holds {array.dtype}; expected floating-point numbers")
    array = np.ascontiguousarray(array, dtype=np.float32)
    # min and max carry NaN along and need no temporary array
    if finite and array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        raise DataError(f"{spec.name} holds NaN or infinity; look for the cause where it was made")
    return array


def _checked_positions(spec: InputSpec, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "iu":
        raise DataError(f"{spec.name} holds {array.dtype}; expected integers")
    if array.size and spec.rows is not None:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= spec.rows:
            raise DataError(
                f"{spec.name} holds ids from {low} to {high}; the table has rows 0 to "
                f"{spec.rows - 1}. Were they made for another vocabulary, or other classes?"
            )
    return np.ascontiguousarray(array, dtype=np.int32)
