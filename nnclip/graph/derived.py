"""What text towers read beside ids: computed from them in integers, outside the graph.

In half precision neighbouring ids round to the same number, so a graph cannot do it. Each function
of ids is a frozen object: called, it computes with NumPy; `meaning` says the same to who feeds an
exported file; `nnclip.export.makers` has it as a part of a graph.

Axes: N batch, L tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nnclip.errors import DataError
from nnclip.text import end_of_text_positions


class Derived(Protocol):
    """A function of ids (N, L) with a value of the same shape."""

    @property
    def dtype(self) -> str:
        """`float32`, or `int32` for what a table is read by."""
        ...

    @property
    def meaning(self) -> str:
        """What it is, and how NumPy computes it of `ids`."""
        ...

    def __call__(self, ids_NL: np.ndarray) -> np.ndarray:
        """Integers (N, L) -> (N, L); DataError if they hold no text."""
        ...


Beside = Mapping[str, Derived]  # name of an input -> what makes it


@dataclass(frozen=True)
class FirstHighest:
    """1 at the first occurrence of each row's highest id, else 0."""

    dtype: str = "float32"
    meaning: str = (
        "1.0 at each text's end, else 0.0: `numpy.eye(L, dtype='f4')[ids.argmax(axis=1)]`"
    )

    def __call__(self, ids_NL: np.ndarray) -> np.ndarray:
        """See `Derived`."""
        return np.eye(ids_NL.shape[1], dtype=np.float32)[end_of_text_positions(ids_NL)]


@dataclass(frozen=True)
class FirstEqual:
    """1 at the first occurrence of an id in each row, at the row's beginning where there is none.

    Source: open_clip's `text_global_pool`, transformers' `MetaClip2TextTransformer`.
    """

    value: int
    dtype: str = "float32"

    @property
    def meaning(self) -> str:
        """See `Derived`."""
        return (
            "1.0 at each text's end, else 0.0: "
            f"`numpy.eye(L, dtype='f4')[(ids == {self.value}).argmax(axis=1)]`"
        )

    def __call__(self, ids_NL: np.ndarray) -> np.ndarray:
        """See `Derived`."""
        return np.eye(ids_NL.shape[1], dtype=np.float32)[(ids_NL == self.value).argmax(axis=1)]


@dataclass(frozen=True)
class NotPadding:
    """1 for each token, 0 for padding; a text must have a token."""

    pad: int
    dtype: str = "float32"

    @property
    def meaning(self) -> str:
        """See `Derived`."""
        return f"1.0 for each token, 0.0 for padding: `(ids != {self.pad}).astype('f4')`"

    def __call__(self, ids_NL: np.ndarray) -> np.ndarray:
        """See `Derived`."""
        real_NL = ids_NL != self.pad
        if not real_NL.any(axis=1).all():
            row = int(real_NL.any(axis=1).argmin())
            raise DataError(
                f"ids: found only padding ({self.pad}) in row {row}, expected at least a start "
                "and an end"
            )
        return real_NL.astype(np.float32)


@dataclass(frozen=True)
class PositionsWithoutPadding:
    """The number of each token in its text, counted from `first`; of padding, one less.

    Source: RoBERTa's `make_positions` in fairseq.
    """

    pad: int
    first: int
    dtype: str = "int32"

    @property
    def meaning(self) -> str:
        """See `Derived`."""
        real = f"(ids != {self.pad})"
        return f"counted without padding: `{real}.cumsum(1) * {real} + {self.first - 1}`"

    def __call__(self, ids_NL: np.ndarray) -> np.ndarray:
        """See `Derived`."""
        real_NL = ids_NL != self.pad
        return (np.cumsum(real_NL, axis=1) * real_NL + self.first - 1).astype(np.int32)
