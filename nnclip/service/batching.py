"""Dynamic batching: what several visitors ask at the same time is computed in one call.

Axes: N rows.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np


class DynamicBatching:
    """A function of rows that computes what waits for it in one call; for several threads.

    While one call runs, others gather; the next takes them all.
    """

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        """Batch calls of `function`: (N, ...) -> (N, ...), each row by itself."""
        self._function = function
        self._waiting: list[tuple[np.ndarray, Future[np.ndarray]]] = []
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The function's answer to `rows`; raises what the call raised, for all who share it."""
        answer: Future[np.ndarray] = Future()
        with self._lock:
            self._waiting.append((rows, answer))
        with self._turn:
            with self._lock:
                taken, self._waiting = self._waiting, []
            if taken:
                self._compute(taken)
        return answer.result()

    def _compute(self, taken: list[tuple[np.ndarray, Future[np.ndarray]]]) -> None:
        try:
            found = self._function(np.concatenate([rows for rows, _ in taken]))
        except Exception as error:  # whoever shares the call learns of it
            for _, answer in taken:
                answer.set_exception(error)
            return
        ends = np.cumsum([len(rows) for rows, _ in taken])
        for part, (_, answer) in zip(np.split(found, ends[:-1]), taken, strict=True):
            answer.set_result(part)
