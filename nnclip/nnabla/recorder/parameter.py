"""Parameter scopes and initialisers, with NNabla's names and meaning."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from nnclip.nnabla.recorder.variable import Variable

Scope = dict[str, Any]  # name -> Variable or Scope

_root: Scope = OrderedDict()
_current: ContextVar[Scope | None] = ContextVar("scope", default=None)


def _scope() -> Scope:
    found = _current.get()
    return _root if found is None else found


@contextmanager
def parameter_scope(name: str, scope: Scope | None = None) -> Iterator[Scope]:
    """Inside, parameters are those of `scope` (the present one if not given) below `name`."""
    inner = _scope() if scope is None else scope
    for part in filter(None, name.split("/")):
        inner = inner.setdefault(part, OrderedDict())
    token = _current.set(inner)
    try:
        yield inner
    finally:
        _current.reset(token)


def get_parameter(key: str) -> Variable | None:
    """The parameter of the present scope by this name, or None."""
    found: Any = _scope()
    for part in key.split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def set_parameter(key: str, variable: Variable) -> None:
    """Put a Variable under this name."""
    *folders, name = key.split("/")
    with parameter_scope("/".join(folders)) as scope:
        scope[name] = variable


def get_parameter_or_create(
    name: str,
    shape: Sequence[int],
    initializer: Callable[[Sequence[int]], np.ndarray] | None = None,
    need_grad: bool = True,
) -> Variable:
    """The parameter by this name, made by `initializer` where there is none."""
    found = get_parameter(name)
    if found is None:
        found = Variable(shape, need_grad)
        if initializer is not None:
            found.d = initializer(shape)
        set_parameter(name, found)
    return found


def get_parameters(grad_only: bool = True) -> dict[str, Variable]:
    """Full name -> Variable of all parameters below the present scope."""
    found: dict[str, Variable] = OrderedDict()
    for name, value in _scope().items():
        if isinstance(value, dict):
            with parameter_scope(name):
                below = get_parameters(grad_only)
            found.update({f"{name}/{k}": v for k, v in below.items()})
        elif value.need_grad or not grad_only:
            found[name] = value
    return found


class BaseInitializer:
    """Gives the first values of a parameter for its shape."""

    def __call__(self, shape: Sequence[int]) -> np.ndarray:
        """An array of this shape."""
        raise NotImplementedError


class ConstantInitializer(BaseInitializer):
    """One value everywhere."""

    def __init__(self, value: float = 0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int]) -> np.ndarray:
        """An array of this shape."""
        return np.full(shape, self.value, np.float32)


class NormalInitializer(BaseInitializer):
    """Values of a normal distribution around 0."""

    def __init__(self, sigma: float = 1.0) -> None:
        self.sigma, self.rng = sigma, random.prng

    def __call__(self, shape: Sequence[int]) -> np.ndarray:
        """An array of this shape."""
        return np.asarray(self.rng.randn(*shape) * self.sigma, np.float32)


class UniformInitializer(BaseInitializer):
    """Values equally likely between two limits."""

    def __init__(self, lim: tuple[float, float] = (-1, 1)) -> None:
        self.lim, self.rng = lim, random.prng

    def __call__(self, shape: Sequence[int]) -> np.ndarray:
        """An array of this shape."""
        return np.asarray(self.rng.uniform(*self.lim, size=shape), np.float32)


class random:  # noqa: N801, NNabla's module of that name
    """Holds the generator that initialisers draw from; replace `prng` for another seed."""

    prng = np.random.RandomState(313)
