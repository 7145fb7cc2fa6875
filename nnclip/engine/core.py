"""The one OpenVINO runtime of a process, and what a forked child must know of its parent's."""

from __future__ import annotations

import ctypes
import functools
import gc
from dataclasses import dataclass

import openvino as ov

from nnclip.engine.precision import lift_hold
from nnclip.forks import renew_in_children


@functools.cache
def core() -> ov.Core:
    """The one OpenVINO runtime of this process."""
    lift_hold()
    return ov.Core()


@dataclass(eq=False)
class _Descent:
    """What this process has from the one that forked it.

    Attributes:
        orphaned: Whether that one ran OpenVINO. Then OpenVINO would wait for threads that are not
            here, so it must compile for the calling thread alone.
    """

    orphaned: bool = False


_DESCENT = _Descent()


def _in_child() -> None:
    if core.cache_info().currsize:
        _DESCENT.orphaned = True
        # what the parent left to the garbage collector may hold models and their threads, which are
        # not here: to end them ends this process
        gc.freeze()
        # its end, at the end of Python, would wait for those threads, too: it never ends
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(core()))


renew_in_children(_DESCENT, lambda _: _in_child())


def orphaned() -> bool:
    """Whether this process was forked from one that ran OpenVINO; its threads are not here."""
    return _DESCENT.orphaned
