"""Dynamic batching: what several visitors ask at the same time is computed in one call.

Axes: N rows.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeAlias

import numpy as np

MOST = 32  # rows of a call: more of them take longer without taking less time each
SHARE = 0.25  # of the last call's seconds that the next one waits for as many callers
LONGEST = 0.05  # seconds of that

Observe: TypeAlias = Callable[[str, int, float], None]


def unobserved(what: str, rows: int, seconds: float) -> None:
    """An `Observe` that learns nothing."""


class DynamicBatching:
    """A function of rows that computes what waits for it in one call; for several threads.

    While one call runs, others gather; the next takes them, in the order in which they came.
    Clients whose answers one call gave come back one after the other: the next call waits a little
    for as many callers, or it would take the first one alone. One caller alone never waits.
    """

    def __init__(
        self,
        function: Callable[[np.ndarray], np.ndarray],
        most: int = MOST,
        observe: Callable[[int, float], None] = lambda rows, seconds: None,
    ) -> None:
        """Batch calls.

        Args:
            function: (N, ...) -> (N, ...), each row by itself.
            most: rows that are gathered; who brings more is computed alone.
            observe: told the rows and the seconds of each call.
        """
        self._function, self._most, self._observe = function, most, observe
        self._waiting: list[tuple[np.ndarray, Future[np.ndarray]]] = []
        self._turn, self._came = threading.Lock(), threading.Condition()
        self._callers, self._seconds = 1, 0.0  # of the last call

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The function's answer to `rows`; raises what the call raised, for all who share it."""
        answer: Future[np.ndarray] = Future()
        with self._came:
            self._waiting.append((rows, answer))
            if self._enough():
                self._came.notify()
        while not answer.done():
            with self._turn:
                if not answer.done():
                    self._compute(self._taken())
        return answer.result()

    def _taken(self) -> list[tuple[np.ndarray, Future[np.ndarray]]]:
        """Who is computed next: at least one, together at most `most` rows."""
        with self._came:
            self._came.wait_for(self._enough, min(SHARE * self._seconds, LONGEST))
            ends = np.cumsum([len(rows) for rows, _ in self._waiting])
            count = max(1, int(np.searchsorted(ends, self._most, "right")))
            taken, self._waiting = self._waiting[:count], self._waiting[count:]
        self._callers = count
        return taken

    def _enough(self) -> bool:
        """Whether as many callers wait as the last call had, or as many rows as one takes."""
        rows = sum(len(rows) for rows, _ in self._waiting)
        return len(self._waiting) >= self._callers or rows >= self._most

    def _compute(self, taken: list[tuple[np.ndarray, Future[np.ndarray]]]) -> None:
        rows = np.concatenate([rows for rows, _ in taken])
        start = time.perf_counter()
        try:
            found = self._function(rows)
        except Exception as error:  # whoever shares the call learns of it
            for _, answer in taken:
                answer.set_exception(error)
            return
        self._seconds = time.perf_counter() - start
        self._observe(len(rows), self._seconds)
        ends = np.cumsum([len(rows) for rows, _ in taken])
        for part, (_, answer) in zip(np.split(found, ends[:-1]), taken, strict=True):
            answer.set_result(part)
