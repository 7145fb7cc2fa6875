"""Stands in for NNabla where it is not installed: graphs are recorded for the compiler, not run.

Offers the names, shape rules and arguments of those parts of NNabla that towers and the compiler
use, so that a tower's source is the same with and without NNabla.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nnclip.nnabla.recorder import functions, parameter
from nnclip.nnabla.recorder.parameter import get_parameters, parameter_scope, random
from nnclip.nnabla.recorder.variable import Function, Variable

__all__ = [
    "Context",
    "Function",
    "NdArray",
    "PythonFunction",
    "Variable",
    "auto_forward",
    "context_scope",
    "functions",
    "get_extension_context",
    "get_parameters",
    "parameter",
    "parameter_scope",
    "random",
]


class Context:
    """Where NNabla would compute."""

    def __init__(self, *_: Any) -> None:
        """There is one place here."""


class NdArray:
    """An array of NNabla; named in signatures only."""


class PythonFunction:
    """A function whose forward pass is Python; NNabla alone runs such."""


@contextmanager
def auto_forward(auto: bool = True) -> Iterator[None]:
    """Nothing runs at once here, whatever `auto` says."""
    yield


@contextmanager
def context_scope(context: Any) -> Iterator[None]:
    """Inside, nothing changes: there is one context."""
    yield


def get_extension_context(name: str) -> Context:
    """The context of the CPU; ImportError for every other one."""
    if name != "cpu":
        raise ImportError("NNabla is not installed")
    return Context()
