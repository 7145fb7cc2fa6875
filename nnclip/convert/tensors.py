"""Tensors of a file that are read only when asked for, so that a large file is never held whole."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnclip.errors import CheckpointError
from nnclip.weights.h5 import check_finite

# torch's name of a type -> how its bytes lie in a file; NumPy has no bfloat16, see `decode`
STORED = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "<i1",
    "uint8": "<u1",
    "bool": "?",
}
MOST_AXES = 16


@dataclass(frozen=True)
class Tensor:
    """A tensor that lies in a file.

    Attributes:
        shape: its axes.
        dtype: a key of STORED.
        read: fetches the values; floats come as float32.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


def of_array(array: np.ndarray) -> Tensor:
    """A tensor that is in memory already."""
    return Tensor(array.shape, array.dtype.name, lambda: array)


def size_of(dtype: str) -> int:
    """Bytes of one element."""
    return np.dtype(STORED[dtype]).itemsize


def decode(content: bytes, dtype: str) -> np.ndarray:
    """The elements that `content` holds, in one row; floats as float32."""
    stored = np.frombuffer(content, STORED[dtype])
    if dtype == "bfloat16":  # the upper half of a float32
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32, copy=False) if dtype.startswith("float") else stored


def transposed(tensor: Tensor) -> Tensor:
    """The tensor with its axes in reverse order."""
    return Tensor(tensor.shape[::-1], tensor.dtype, lambda: tensor.read().T)


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Tensors of equal shape, one above the other."""
    dtypes = {part.dtype for part in parts}
    return Tensor(
        (sum(part.shape[0] for part in parts), *parts[0].shape[1:]),
        dtypes.pop() if len(dtypes) == 1 else "float32",
        lambda: np.concatenate([part.read() for part in parts]),
    )


def rows(tensor: Tensor, part: int, shares: Sequence[int]) -> Tensor:
    """One of the slices that `shares` make of the first axis; the inverse of `stacked`."""
    unit = tensor.shape[0] // sum(shares)
    start, n = unit * sum(shares[:part]), unit * shares[part]
    return Tensor((n, *tensor.shape[1:]), tensor.dtype, lambda: tensor.read()[start : start + n])


def zeros_like(tensor: Tensor) -> Tensor:
    """Zeros of a tensor's shape and type."""
    return Tensor(tensor.shape, tensor.dtype, lambda: np.zeros_like(tensor.read()))


def unless_left_out(whole: Tensor, name: str, part: Tensor) -> Tensor:
    """The tensor; reading it raises CheckpointError if `part`, which is left out, is not zero."""

    def read() -> np.ndarray:
        if part.read().any():
            raise CheckpointError(
                f"tensor {name}: found numbers that are not zero where this dialect has none"
            )
        return whole.read()

    return Tensor(whole.shape, whole.dtype, read)


def with_ones(tensor: Tensor, ones: int) -> Tensor:
    """The tensor with axes of length 1 in front."""
    shape = (1,) * ones + tensor.shape
    return Tensor(shape, tensor.dtype, lambda: tensor.read().reshape(shape))


def without_ones(tensor: Tensor, ones: int) -> Tensor:
    """The tensor without so many axes in front, if they have length 1; else as it is."""
    if tensor.shape[:ones] != (1,) * ones:
        return tensor
    shape = tensor.shape[ones:]
    return Tensor(shape, tensor.dtype, lambda: tensor.read().reshape(shape))


class Values(Mapping[str, np.ndarray]):
    """The arrays of tensors, each read and found finite when asked for, and then forgotten."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> np.ndarray:
        array = self._tensors[name].read()
        check_finite(name, array)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
