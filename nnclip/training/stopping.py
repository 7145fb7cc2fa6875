"""Signals that ask a run to save and to end, heard at once, also while a step computes.

Python calls a signal's handler between two of its own instructions, which may be minutes away
while a graph is compiled. The number of a signal is written to a pipe at once, and a thread reads
it there: the wish is told, and a second Ctrl-C ends the process, whatever it is at.
"""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from nnclip.host import signals

logger = logging.getLogger(__name__)

ASKING = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
ONE_PRESS = 0.3  # seconds; launchers pass Ctrl-C on to a process that the terminal told already
INTERRUPTED = 130  # exit status
AFTER_HANG_UP = "after-hang-up.log"


class StopSignals:
    """In a `with`, hears signals; those that the process was started to ignore stay ignored.

    Attributes:
        asked: whether one came.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare; `folder` gets what is said after the terminal has gone."""
        self.asked = False
        self._folder, self._first_press = folder, 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is not threading.main_thread():
            return self  # no other thread may set handlers
        streams = (sys.stdout, sys.stderr)  # a terminal that has gone does not say that it was one
        self._terminals = [s.fileno() for s in streams if s is not None and s.isatty()]
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in signals(*ASKING):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # as nohup starts processes
                self._before[number] = signal.signal(number, _nothing)
        threading.Thread(target=self._listen, args=(self._reading,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._before:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._writing)  # ends the thread
        self._before = {}

    def _listen(self, reading: int) -> None:
        while number := os.read(reading, 1):
            if number[0] in self._before:
                self._hear(signal.Signals(number[0]))
        os.close(reading)

    def _hear(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if number == signal.SIGINT:
            if self._first_press and now - self._first_press > ONE_PRESS:
                logger.warning("second Ctrl-C: ending at once, without saving")
                os._exit(INTERRUPTED)
            self._first_press = self._first_press or now
        if number in signals("SIGHUP"):
            self._outlive_terminal()
        if not self.asked:
            self.asked = True
            again = "; a second Ctrl-C ends at once" if number == signal.SIGINT else ""
            logger.warning("%s: saving after this step, then ending%s", number.name, again)

    def _outlive_terminal(self) -> None:
        """Writing to a terminal that has gone fails, and would end the run before it saves."""
        if not self._terminals:
            return
        with open(self._folder / AFTER_HANG_UP, "a", encoding="utf-8") as log:
            for descriptor in self._terminals:
                os.dup2(log.fileno(), descriptor)


def _nothing(number: int, frame: FrameType | None) -> None:
    """Let the pipe tell it: without a handler of Python's the system's own would end us."""
