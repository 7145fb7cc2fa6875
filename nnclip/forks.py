"""What the threads of this process share, and what becomes of it in a forked child.

A child has one thread, the one that forked. A lock that another thread held stays locked there for
ever, and a library's own threads are gone. So a fork waits until nobody builds a graph and no call
runs. What a child cannot use is made again there.
"""

import os
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from nnclip.errors import ConfigError

Owner = TypeVar("Owner")

# NNabla's parameter scope, context and mode are global, and its graphs are not thread-safe: whoever
# builds, reads or runs one holds this.
NNABLA_LOCK = threading.RLock()

_renewed: "weakref.WeakKeyDictionary[Any, Callable[[Any], None]]" = weakref.WeakKeyDictionary()


class RunningCalls:
    """Counts the calls into a library that has threads of its own; a fork waits for their end.

    Used as a context manager around one call, which must not wait for another one.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forget all calls: in a child, the threads that made them are gone."""
        self._changed = threading.Condition()
        self._running: list[int] = []  # the threads of the calls
        self._closed = False

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._running.append(threading.get_ident())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with self._changed:
            self._running.remove(threading.get_ident())
            self._changed.notify_all()

    def close(self) -> None:
        """Let no call begin, and wait for those that run in other threads."""
        own = threading.get_ident()
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: all(one == own for one in self._running))

    def open(self) -> None:
        """Let calls begin again."""
        with self._changed:
            self._closed = False
            self._changed.notify_all()


OPENVINO_CALLS = RunningCalls()


def check_process(made_in: int, what: str) -> None:
    """Make sure that this process is the one in which something was made.

    Args:
        made_in: That one's number, from `os.getpid`.
        what: What was made, for the error.

    Raises:
        ConfigError: It is a forked child of that one.
    """
    if os.getpid() != made_in:
        raise ConfigError(
            f"{what}: found it used in a process forked from the one that made it, expected the "
            "same; make it there, or start that process by spawn"
        )


def renew_in_children(owner: Owner, renew: Callable[[Owner], None]) -> None:
    """Have `renew(owner)` called in every forked child, as long as `owner` lives.

    It runs before anything else in the child, which has one thread then.
    """
    _renewed[owner] = renew


def _before() -> None:
    NNABLA_LOCK.acquire()
    OPENVINO_CALLS.close()


def _after_in_parent() -> None:
    OPENVINO_CALLS.open()
    NNABLA_LOCK.release()


def _after_in_child() -> None:
    OPENVINO_CALLS.renew()
    NNABLA_LOCK.release()
    for owner, renew in list(_renewed.items()):
        renew(owner)


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
