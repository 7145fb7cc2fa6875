"""Several processes on one port: started, watched, restarted, drained.

They share the socket and the counters. Each compiles the weights for itself: the compiler packs all
of them anew, so that nothing of a mapped file is left to share.
"""

import argparse
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType

from nnclip.errors import NnclipError
from nnclip.files import shown
from nnclip.logs import log_to_stderr
from nnclip.serve.metrics import SHARED
from nnclip.service.limits import LINGER_SECONDS
from nnclip.web.listeners import take_no_more

logger = logging.getLogger(__name__)

PATIENCE = 75  # seconds until a worker that should end is killed
YOUNG = 10.0  # seconds; a worker that ends sooner did not begin well
TRIES = 3  # workers that may do so, one after the other


def supervise(args: argparse.Namespace, listener: socket.socket) -> int:
    """Keep `args.workers` processes on a socket until a signal comes; returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="nnclip-metrics-") as folder:
        os.environ[SHARED] = folder
        return _Workers(args, listener).run()


class _Workers:
    def __init__(self, args: argparse.Namespace, listener: socket.socket) -> None:
        self._args, self._listener = args, listener
        self._spawn = multiprocessing.get_context("spawn")
        self._running: dict[int, tuple[BaseProcess, float]] = {}
        self._closing = False
        self._failed = 0

    def run(self) -> int:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._close)
        for index in range(self._args.workers):
            self._start(index)
        status = 0
        while self._running and not self._closing:
            wait([process.sentinel for process, _ in self._running.values()], timeout=0.2)
            for index, (process, began) in list(self._running.items()):
                if process.exitcode is not None and not self._closing:
                    status = self._ended(index, process, began)
        return self._drain() or status

    def _start(self, index: int) -> None:
        process = self._spawn.Process(target=work, args=(self._args, self._listener, index))
        process.start()
        self._running[index] = process, time.monotonic()

    def _ended(self, index: int, process: BaseProcess, began: float) -> int:
        """Restart a worker, or give up; the status of that."""
        young = time.monotonic() - began < YOUNG
        self._failed = self._failed + 1 if young else 0
        if process.exitcode == 2 or self._failed >= TRIES:
            self._closing = True
            return 2
        logger.warning("worker %d ended with %s: restarted", index, process.exitcode)
        self._start(index)
        return 0

    def _close(self, sig: int, frame: FrameType | None) -> None:
        self._closing = True

    def _drain(self) -> int:
        """Let all workers end; 1 if one had to be killed."""
        processes = [process for process, _ in self._running.values()]
        for process in processes:
            process.terminate()
        time.sleep(LINGER_SECONDS)  # so long they take requests, and then who still waits
        take_no_more(self._listener)
        deadline = time.monotonic() + PATIENCE
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
        late = [process for process in processes if process.exitcode is None]
        for process in late:
            process.kill()
        return 1 if late else 0


def work(args: argparse.Namespace, listener: socket.socket, index: int) -> None:
    """One worker; it ends when its parent does, whatever ended that."""
    log_to_stderr(logging.WARNING, f"worker {index}: ")
    _settle(args.workers, index)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    from nnclip.serve.server import run

    try:
        status = run(args, listener)
    except NnclipError as error:
        print(shown(f"nnclip serve: {error}"), file=sys.stderr)
        status = 2
    sys.exit(status)


def _settle(workers: int, index: int) -> None:
    """Give a worker cores of its own, where there are enough: it then makes as many threads."""
    if not hasattr(os, "sched_getaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if workers <= len(cores):
        os.sched_setaffinity(0, cores[index::workers])


def _end_after(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
