"""Values inside a tower that explain its answers: how much each token attends to each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from nnclip.nnabla import nn


class Watched(NamedTuple):
    """What towers that were built meanwhile computed.

    Attributes:
        attention: after the softmax of each block, (N, H, M, L).
        pool: after that of an attention pooling, (N, H, 1, L) or (N, H, L).
    """

    attention: list[nn.Variable]
    pool: list[nn.Variable]


_watched: Watched | None = None


@contextmanager
def watching() -> Iterator[Watched]:
    """Inside, towers tell what they compute. The caller holds the lock that building needs."""
    global _watched
    before, _watched = _watched, Watched([], [])
    try:
        yield _watched
    finally:
        _watched = before


def watched(kind: str, weights: nn.Variable) -> nn.Variable:
    """Give back attention weights, and tell them to who watches; `kind` is a field of `Watched`."""
    if _watched is not None:
        getattr(_watched, kind).append(weights)
    return weights
