"""Folds what is linear into single convolutions, exactly: computed in float64, stored in float32.

A batch normalisation with its own statistics multiplies each channel and adds to it; branches and
shortcuts add. So any of them, beside or behind a convolution without bias, is another filter and
another bias.

Axes: O output channels, C input channels of a group, K pixels along a filter.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nnclip.convert.tensors import Tensor
from nnclip.errors import CheckpointError

EPS = 1e-5  # of batch normalisations: torch's default
Tensors = Mapping[str, Tensor]


class Layer(NamedTuple):
    """A linear layer, or a convolution: W (O, ...) and b (O,), float64."""

    w: np.ndarray
    b: np.ndarray

    def __add__(self, other: "Layer") -> "Layer":  # type: ignore[override]
        """Both of one input, and the sum of their outputs."""
        return Layer(self.w + other.w, self.b + other.b)

    def times(self, factor_O: np.ndarray) -> "Layer":
        """The output multiplied, channel by channel."""
        return Layer(self.w * _columns(factor_O, self.w), self.b * factor_O)


def _columns(factor_O: np.ndarray, w: np.ndarray) -> np.ndarray:
    return factor_O.reshape(-1, *[1] * (w.ndim - 1))


def lying(tensors: Tensors, name: str) -> Tensor:
    """The tensor of this name; CheckpointError if there is none."""
    if name not in tensors:
        raise CheckpointError(f"tensor {name}: missing; the layers around it cannot be folded")
    return tensors[name]


NORM = ("weight", "bias", "running_mean", "running_var")


def check_norm(tensors: Tensors, norm: str) -> None:
    """CheckpointError unless the whole batch normalisation of this name is there."""
    for name in NORM:
        lying(tensors, f"{norm}.{name}")


def check_convolved(tensors: Tensors, at: str) -> tuple[int, ...]:
    """The shape of the convolution `at`.conv; CheckpointError unless `at`.bn is whole too."""
    check_norm(tensors, f"{at}.bn")
    return lying(tensors, f"{at}.conv.weight").shape


def values(tensors: Tensors, name: str) -> np.ndarray:
    """The values of a tensor in float64."""
    return lying(tensors, name).read().astype(np.float64)


def factor_and_shift(tensors: Tensors, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """What the batch normalisation of this name multiplies by, and adds: (O,) each."""
    gain, bias, mean, variance = (values(tensors, f"{norm}.{name}") for name in NORM)
    factor_O = gain / np.sqrt(variance + EPS)
    return factor_O, bias - mean * factor_O


def normalised(tensors: Tensors, norm: str, w: np.ndarray) -> Layer:
    """The convolution w, without bias, and a batch normalisation behind it."""
    factor_O, shift_O = factor_and_shift(tensors, norm)
    return Layer(w * _columns(factor_O, w), shift_O)


def convolved(tensors: Tensors, at: str, kernel: int) -> Layer:
    """The convolution `at`.conv with the batch normalisation `at`.bn, as one of K `kernel`."""
    w = values(tensors, f"{at}.conv.weight")
    pad = (kernel - w.shape[-1]) // 2
    return normalised(tensors, f"{at}.bn", np.pad(w, ((0, 0), (0, 0), (pad, pad), (pad, pad))))


def unchanged(shape_OCKK: tuple[int, ...]) -> np.ndarray:
    """The identity: a filter (O, C, K, K) of as many groups as there are."""
    w = np.zeros(shape_OCKK)
    middle = shape_OCKK[-1] // 2
    out = np.arange(shape_OCKK[0])
    w[out, out % shape_OCKK[1], middle, middle] = 1
    return w


def folded(at: str, shape: tuple[int, ...], make: Callable[[], Layer]) -> dict[str, Tensor]:
    """The tensors `at`.weight of this shape and `at`.bias, each computed when it is read."""
    return {
        f"{at}.weight": Tensor(shape, "float32", lambda: make().w.astype(np.float32)),
        f"{at}.bias": Tensor(shape[:1], "float32", lambda: make().b.astype(np.float32)),
    }


def conv_and_norm(tensors: Tensors, at: str) -> dict[str, Tensor]:
    """A convolution and its batch normalisation."""
    shape = check_convolved(tensors, at)
    return folded(f"{at}.conv", shape, lambda: convolved(tensors, at, shape[-1]))


# Pattern of whole names, and what makes of all tensors with the same group 1 the folded ones.
Rules = Sequence[tuple[str, Callable[[Tensors, str], dict[str, Tensor]]]]


def fold_by(rules: Rules, tensors: Tensors, below: str) -> dict[str, Tensor]:
    """The tensors, those whose names begin with `below` folded by the first rule that matches.

    Raises:
        CheckpointError: a tensor that belongs to others is missing.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        made = None
        for pattern, rule in rules:
            match = re.fullmatch(pattern, name) if name.startswith(below) else None
            if match:
                made = rule(tensors, match[1])
                break
        found |= {name: tensor} if made is None else made
    return found


def not_unfolded(kind: str) -> CheckpointError:
    """What is said where a tower that was folded is to be written for its own code."""
    return CheckpointError(
        f"found a {kind} that was folded into single convolutions when it was converted, expected "
        "a tower that open_clip's code can load: use the original file"
    )
