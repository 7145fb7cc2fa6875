"""Batches, decoded by worker processes ahead of the step that needs them.

Axes: N batch, R resolution.
"""

import atexit
import logging
import mmap
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any

import numpy as np

from nnclip.errors import DataError
from nnclip.training.data.decode import Recipe, decode
from nnclip.training.data.pairs import CAPTION, Draw, Pair, PairTable, Stream

logger = logging.getLogger(__name__)

SLOTS = 3  # batches in memory: one in use, two being filled
CHUNK = 32  # pictures that a worker takes at once
ATTEMPTS = 100  # substitutes tried for one broken picture
# mpirun sends them to a rank's whole process group; the rank decides when its workers end
GROUP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

Job = tuple[int, Pair, Draw]  # row of the slot, what, and how
Failure = tuple[int, str]


@dataclass(frozen=True)
class RawBatch:
    """Pictures and captions.

    Attributes:
        images: (N, 3, R, R) float32, normalised; overwritten once the next batch is asked for.
        captions: one a picture.
        broken: name -> what is wrong with it, of the pictures that were replaced.
        replaced: their rows.
    """

    images: np.ndarray
    captions: list[str]
    broken: dict[str, str]
    replaced: list[int]


class Loader:
    """Prepares batches of one rank; `close` it, or use it in a `with`."""

    def __init__(
        self,
        table: PairTable,
        recipe: Recipe,
        rows: int,
        seed: int = 0,
        workers: int = 0,
        together: int = 1,
    ) -> None:
        """Start the workers.

        Args:
            table: the pairs.
            recipe: how they become rows.
            rows: largest number of rows in a batch.
            seed: of the order and the crops.
            workers: processes; 0 to decode in this one.
            together: see `Stream`.
        """
        self._table, self._recipe = table, recipe
        self.stream = Stream(len(table), seed, together)
        shape = (SLOTS, rows, 3, recipe.resolution, recipe.resolution)
        size = int(np.prod(shape)) * 4
        # An anonymous file in memory: it needs no room in /dev/shm (64 MB in containers) and is
        # gone with the last process that holds it, however that one ends.
        self._file = os.memfd_create("nnclip-batches")
        os.ftruncate(self._file, size)
        self._slots = np.frombuffer(mmap.mmap(self._file, size), np.float32).reshape(shape)
        self._pool = None
        if workers:
            with _ignoring(GROUP_SIGNALS):  # inherited, also by Python's resource tracker
                self._pool = ProcessPoolExecutor(
                    workers,
                    get_context("spawn"),
                    _start_worker,
                    (f"/proc/{os.getpid()}/fd/{self._file}", shape, recipe),
                )
                for started in [self._pool.submit(os.getpid) for _ in range(workers)]:
                    self._result(started)
            atexit.register(self.close)

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
            atexit.unregister(self.close)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def batches(self, spans: Iterator[Sequence[Draw]]) -> Iterator[RawBatch]:
        """One batch for each list of draws, prepared ahead.

        Raises:
            DataError: no substitute can be read either, or a worker died.
        """
        waiting: deque[tuple[int, list[Draw], list[Future[list[Failure]] | list[Failure]]]] = (
            deque()
        )
        slot = 0
        spans = iter(spans)
        exhausted = False
        while True:
            while not exhausted and len(waiting) < SLOTS:
                draws = next(spans, None)
                if draws is None:
                    exhausted = True
                    break
                waiting.append((slot, list(draws), self._submit(slot, list(enumerate(draws)))))
                slot = (slot + 1) % SLOTS
            if not waiting:
                return
            yield self._finish(*waiting.popleft())

    def _submit(
        self, slot: int, rows: list[tuple[int, Draw]]
    ) -> list[Future[list[Failure]] | list[Failure]]:
        jobs = [(row, self._table[draw.index], draw) for row, draw in rows]
        chunks = [jobs[at : at + CHUNK] for at in range(0, len(jobs), CHUNK)]
        if self._pool is None:
            return [_decode_all(self._slots[slot], self._recipe, chunk) for chunk in chunks]
        return [self._pool.submit(_work, slot, chunk) for chunk in chunks]

    def _finish(
        self,
        slot: int,
        draws: list[Draw],
        pending: list[Future[list[Failure]] | list[Failure]],
    ) -> RawBatch:
        """Wait for a batch, and replace what cannot be read."""
        broken: dict[str, str] = {}
        replaced: set[int] = set()
        wanted = list(draws)
        for attempt in range(ATTEMPTS):
            failures = [f for part in pending for f in self._result(part)]
            if not failures:
                captions = [_caption(self._table[draw.index], draw) for draw in draws]
                images = self._slots[slot, : len(draws)]
                return RawBatch(images, captions, broken, sorted(replaced))
            replaced.update(row for row, _ in failures)
            for row, reason in failures:
                broken[self._table[draws[row].index].name] = reason
                draws[row] = self.stream.substitute(wanted[row], attempt)
            pending = self._submit(slot, [(row, draws[row]) for row, _ in failures])
        raise DataError(
            f"found {ATTEMPTS} broken pictures in a row, the last: {next(reversed(broken.items()))}"
        )

    @staticmethod
    def _result(part: "Future[Any] | list[Failure]") -> Any:
        try:
            return part if isinstance(part, list) else part.result()
        except BrokenProcessPool as error:
            raise DataError(
                "a data worker died (killed, or out of memory?): try fewer (--workers)"
            ) from error


def _caption(pair: Pair, draw: Draw) -> str:
    if len(pair.captions) == 1:
        return pair.captions[0]
    return pair.captions[draw.rng(CAPTION).integers(len(pair.captions))]


def _decode_all(rows_N3RR: np.ndarray, recipe: Recipe, jobs: list[Job]) -> list[Failure]:
    failures = []
    for row, pair, draw in jobs:
        reason = decode(pair, draw, recipe, rows_N3RR[row])
        if reason is not None:
            failures.append((row, reason))
    return failures


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


# In a worker: the batches' memory and the recipe, set once when the process starts.
_slots: np.ndarray
_recipe: Recipe


def _start_worker(path: str, shape: tuple[int, ...], recipe: Recipe) -> None:
    global _slots, _recipe
    for number in (signal.SIGINT, *GROUP_SIGNALS):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with open(path, "r+b") as file:
        _slots = np.frombuffer(mmap.mmap(file.fileno(), 0), np.float32).reshape(shape)
    _recipe = recipe


def _end_with_parent() -> None:
    """A killed rank cannot tell its workers."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _work(slot: int, jobs: list[Job]) -> list[Failure]:
    return _decode_all(_slots[slot], _recipe, jobs)
