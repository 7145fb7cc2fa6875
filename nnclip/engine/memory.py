"""NNabla's memory, seen as NumPy arrays."""

from __future__ import annotations

import nnabla as nn
import numpy as np


def float_memory(array: nn.NdArray) -> np.ndarray:
    """NNabla's own memory as float32, which it becomes if it was something else.

    Asking for it also tells NNabla that the CPU's copy is the one that counts from now on.
    """
    if array.data.dtype != np.float32:
        array.cast(np.float32)
    return array.data


def address(array: np.ndarray) -> int:
    """Where an array lies."""
    return array.__array_interface__["data"][0]
