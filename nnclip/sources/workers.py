"""Processes that decode images ahead of whoever waits for them.

They import Pillow and NumPy only, and end with the process that started them, however that ends.
"""

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any, ParamSpec, TypeVar

from nnclip.errors import DataError
from nnclip.host import signals

# mpirun sends them to a rank's whole process group; the rank decides when its workers end
GROUP_SIGNALS = signals("SIGTERM", "SIGUSR1", "SIGUSR2")

P = ParamSpec("P")
T = TypeVar("T")


class Workers(ProcessPoolExecutor):
    """Worker processes; `close` them."""

    def __init__(self, count: int, start: Callable[..., None] | None = None, *given: Any) -> None:
        """Start them, and wait until they are there.

        Args:
            count: of processes.
            start: is called in each of them first.
            given: its arguments.

        Raises:
            DataError: they cannot be started.
        """
        with _ignoring(GROUP_SIGNALS):  # inherited, also by Python's resource tracker
            # spawned: MPI and the engine's threads do not survive a fork
            super().__init__(count, get_context("spawn"), _start, (start, given))
            for started in [self.submit(os.getpid) for _ in range(count)]:
                result(started)
        atexit.register(self.close)

    def close(self) -> None:
        """End the processes."""
        self.shutdown(cancel_futures=True)
        atexit.unregister(self.close)


def submit(
    workers: Workers | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> "Future[T]":
    """What `function` will give, computed by a worker; or here and now where there is none."""
    try:
        if workers is not None:
            return workers.submit(function, *args, **kwargs)
    except BrokenProcessPool as error:
        failed: Future[T] = Future()
        failed.set_exception(error)
        return failed
    done: Future[T] = Future()
    done.set_result(function(*args, **kwargs))
    return done


def result(future: "Future[T]") -> T:
    """What a worker has given; DataError if one died."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise DataError(
            "a data worker died (killed, or out of memory?): try fewer (--workers)"
        ) from error


@contextmanager
def _ignoring(numbers: Sequence[int]) -> Iterator[None]:
    """Ignore signals, and let processes that are started meanwhile ignore them too."""
    main = threading.current_thread() is threading.main_thread()  # no other may set handlers
    before = {n: signal.signal(n, signal.SIG_IGN) for n in numbers} if main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(start: Callable[..., None] | None, given: Sequence[Any]) -> None:
    for number in (signal.SIGINT, *GROUP_SIGNALS):  # the process that waits for it decides
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if start is not None:
        start(*given)


def _end_with_parent() -> None:
    """A killed process cannot tell its workers."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
