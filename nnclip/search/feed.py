"""Pictures decoded by worker processes, ahead of the engine that waits for them.

Workers import Pillow and NumPy only, and send bytes instead of floats.

Axes: N batch, 3 channels, R resolution.
"""

import hashlib
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait

import numpy as np

from nnclip.errors import DataError
from nnclip.image import planes
from nnclip.search.sources import Item

CHUNK = 16  # pictures that a worker takes at once
AHEAD = 3  # batches being prepared while one is computed


@dataclass(frozen=True)
class Tried:
    """What became of one picture.

    Attributes:
        item: the picture.
        changed: when its file was changed last, ns since 1970; 0 if it could not be opened.
        bytes: its length.
        digest: of its content, 32 hexadecimal digits; "" if it could not be opened.
        error: why it cannot be embedded; None if it can.
    """

    item: Item
    changed: int = 0
    bytes: int = 0
    digest: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Decoded:
    """A batch.

    Attributes:
        planes: (N, 3, R, R) uint8, of the pictures without an error, in order.
        tried: all of them.
    """

    planes: np.ndarray
    tried: list[Tried]


def decode(items: Sequence[Item], resolution: int) -> Decoded:
    """Read some pictures; those that cannot be read are told."""
    rows, tried = [], []
    for item in items:
        changed, length, digest = 0, 0, ""
        try:
            content, changed = item.read()
            length, digest = len(content), content_digest(content)
            rows.append(planes(content, resolution))
            tried.append(Tried(item, changed, length, digest))
        except DataError as error:
            tried.append(Tried(item, changed, length, digest, str(error)))
    shape = (0, 3, resolution, resolution)
    return Decoded(np.stack(rows) if rows else np.empty(shape, np.uint8), tried)


def content_digest(content: bytes) -> str:
    """What tells the content of a file from any other."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


class Feed:
    """Decodes batches; `close` it, or use it in a `with`."""

    def __init__(self, resolution: int, workers: int) -> None:
        """Start `workers` processes; with 0, decoding happens in this one."""
        self._resolution = resolution
        # spawned: MPI and the engine's threads do not survive a fork
        self._pool = (
            ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) if workers else None
        )

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def batches(self, wanted: Iterable[Sequence[Item]]) -> Iterator[Decoded]:
        """Each list of pictures as a batch, in order.

        Raises:
            DataError: a worker was killed.
        """
        if self._pool is None:
            for items in wanted:
                yield decode(items, self._resolution)
            return
        waiting: deque[list[Future[Decoded]]] = deque()
        for items in wanted:
            waiting.append(
                [
                    self._pool.submit(decode, items[at : at + CHUNK], self._resolution)
                    for at in range(0, len(items), CHUNK)
                ]
            )
            if len(waiting) > AHEAD:
                yield _joined(waiting.popleft())
        while waiting:
            yield _joined(waiting.popleft())


def _joined(parts: Sequence["Future[Decoded]"]) -> Decoded:
    try:
        done = [part.result() for part in parts]
    except BrokenProcessPool as error:
        raise DataError(
            "a worker that decodes pictures died (killed, or out of memory?): try fewer (--workers)"
        ) from error
    return Decoded(
        np.concatenate([part.planes for part in done]),
        [tried for part in done for tried in part.tried],
    )


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that waits for it decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed process cannot tell its workers."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
