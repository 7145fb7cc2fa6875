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

Observe: TypeAlias = Callable[[str, int, float], None]


def unobserved(what: str, rows: int, seconds: float) -> None:
    """An `Observe` that learns nothing."""


class DynamicBatching:
    """A function of rows that computes what waits for it in one call; for several threads.

    While one call runs, others gather; the next takes them, in the order in which they came.
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
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The function's answer to `rows`; raises what the call raised, for all who share it."""
        answer: Future[np.ndarray] = Future()
        with self._lock:
            self._waiting.append((rows, answer))
        while not answer.done():
            with self._turn:
                if not answer.done():
                    self._compute(self._taken())
        return answer.result()

    def _taken(self) -> list[tuple[np.ndarray, Future[np.ndarray]]]:
        """Who is computed next: at least one, together at most `most` rows."""
        with self._lock:
            ends = np.cumsum([len(rows) for rows, _ in self._waiting])
            count = max(1, int(np.searchsorted(ends, self._most, "right")))
            taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def _compute(self, taken: list[tuple[np.ndarray, Future[np.ndarray]]]) -> None:
        rows = np.concatenate([rows for rows, _ in taken])
        start = time.perf_counter()
        try:
            found = self._function(rows)
        except Exception as error:  # whoever shares the call learns of it
            for _, answer in taken:
                answer.set_exception(error)
            return
        self._observe(len(rows), time.perf_counter() - start)
        ends = np.cumsum([len(rows) for rows, _ in taken])
        for part, (_, answer) in zip(np.split(found, ends[:-1]), taken, strict=True):
            answer.set_result(part)
