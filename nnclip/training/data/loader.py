"""Batches, decoded by worker processes ahead of the step that needs them.

Axes: N batch, R resolution.
"""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from nnclip.errors import DataError
from nnclip.sources.workers import Workers, result, submit
from nnclip.training.data.captions import Captions
from nnclip.training.data.decode import Recipe, decode
from nnclip.training.data.pairs import Draw, Pair, PairTable, Stream
from nnclip.training.data.shared import Shared, opened

logger = logging.getLogger(__name__)

SLOTS = 3  # batches in memory: one in use, two being filled
CHUNK = 32  # images that a worker takes at once
ATTEMPTS = 100  # substitutes tried for one broken image
AS_THEY_ARE = Captions()

Job = tuple[int, Pair, Draw]  # row of the slot, what, and how
Failure = tuple[int, str]


@dataclass(frozen=True)
class RawBatch:
    """Images and captions.

    Attributes:
        images: (N, 3, R, R) float32, normalised; overwritten once the next batch is asked for.
        captions: one an image.
        broken: name -> what is wrong with it, of the images that were replaced.
        replaced: their rows.
        draws: of which pairs they are.
    """

    images: np.ndarray
    captions: list[str]
    broken: dict[str, str]
    replaced: list[int]
    draws: list[Draw]


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
        captions: Captions = AS_THEY_ARE,
    ) -> None:
        """Start the workers.

        Args:
            table: the pairs.
            recipe: how they become rows.
            rows: largest number of rows in a batch.
            seed: of the order and the crops.
            workers: processes; 0 to decode in this one.
            together: see `Stream`.
            captions: how they are made.
        """
        self._table, self._recipe, self._captions = table, recipe, captions
        self.stream = Stream(len(table), seed, together)
        side = recipe.preprocess.resolution
        shape = (SLOTS, rows, 3, side, side)
        size = int(np.prod(shape)) * 4
        self._shared = Shared(size)
        self._slots = np.frombuffer(self._shared.memory, np.float32).reshape(shape)
        self._pool = None
        if workers:
            self._pool = Workers(workers, _start_worker, self._shared.place, shape, recipe)

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        self._shared.close()

    def batches(self, spans: Iterator[Sequence[Draw]]) -> Iterator[RawBatch]:
        """One batch for each list of draws, prepared ahead.

        Raises:
            DataError: no substitute can be read either, or a worker died.
        """
        waiting: deque[tuple[int, list[Draw], list[Future[list[Failure]]]]] = deque()
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

    def _submit(self, slot: int, rows: list[tuple[int, Draw]]) -> list[Future[list[Failure]]]:
        jobs = [(row, self._table[draw.index], draw) for row, draw in rows]
        chunks = [jobs[at : at + CHUNK] for at in range(0, len(jobs), CHUNK)]
        if self._pool is None:
            own = self._slots[slot], self._recipe
            return [submit(None, _decode_all, *own, chunk) for chunk in chunks]
        return [submit(self._pool, _work, slot, chunk) for chunk in chunks]

    def _finish(
        self,
        slot: int,
        draws: list[Draw],
        pending: list[Future[list[Failure]]],
    ) -> RawBatch:
        """Wait for a batch, and replace what cannot be read."""
        broken: dict[str, str] = {}
        replaced: set[int] = set()
        wanted = list(draws)
        for attempt in range(ATTEMPTS):
            failures = [f for part in pending for f in result(part)]
            if not failures:
                captions = [self._captions(self._table[draw.index], draw) for draw in draws]
                images = self._slots[slot, : len(draws)]
                return RawBatch(images, captions, broken, sorted(replaced), draws)
            replaced.update(row for row, _ in failures)
            for row, reason in failures:
                broken[self._table[draws[row].index].name] = reason
                draws[row] = self.stream.substitute(wanted[row], attempt)
            pending = self._submit(slot, [(row, draws[row]) for row, _ in failures])
        raise DataError(
            f"found {ATTEMPTS} broken images in a row, the last: {next(reversed(broken.items()))}"
        )


def _decode_all(rows_N3RR: np.ndarray, recipe: Recipe, jobs: list[Job]) -> list[Failure]:
    failures = []
    for row, pair, draw in jobs:
        reason = decode(pair, draw, recipe, rows_N3RR[row])
        if reason is not None:
            failures.append((row, reason))
    return failures


# In a worker: the batches' memory and the recipe, set once when the process starts.
_slots: np.ndarray
_recipe: Recipe


def _start_worker(place: str, shape: tuple[int, ...], recipe: Recipe) -> None:
    global _slots, _recipe
    _slots = np.frombuffer(opened(place), np.float32).reshape(shape)
    _recipe = recipe


def _work(slot: int, jobs: list[Job]) -> list[Failure]:
    return _decode_all(_slots[slot], _recipe, jobs)
