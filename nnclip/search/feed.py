"""Images decoded by worker processes, ahead of the engine that waits for them.

Workers import Pillow and NumPy only, and send bytes instead of floats.

Axes: N batch, 3 channels, R resolution.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from nnclip.errors import DataError
from nnclip.image import Decoding, Preprocess
from nnclip.image.facts import NOTHING, Facts, facts_of
from nnclip.search.sources import Item
from nnclip.sources.workers import Workers, result, submit

CHUNK = 16  # images that a worker takes at once
AHEAD = 3  # batches being prepared while one is computed


@dataclass(frozen=True)
class Tried:
    """What became of one image.

    Attributes:
        item: the image.
        changed: when its file was changed last, ns since 1970; 0 if it could not be opened.
        bytes: its length.
        digest: of its content, 32 hexadecimal digits; "" if it could not be opened.
        error: why it cannot be embedded; None if it can.
        facts: what its file says besides pixels.
    """

    item: Item
    changed: int = 0
    bytes: int = 0
    digest: str = ""
    error: str | None = None
    facts: Facts = NOTHING


@dataclass(frozen=True)
class Decoded:
    """A batch.

    Attributes:
        planes: (N, 3, R, R) uint8, of the images without an error, in order.
        tried: all of them.
    """

    planes: np.ndarray
    tried: list[Tried]


def decode(items: Sequence[Item], preprocess: Preprocess, decoding: Decoding) -> Decoded:
    """Read some images; those that cannot be read are reported."""
    rows, tried = [], []
    for item in items:
        changed, length, digest = 0, 0, ""
        try:
            content, changed = item.read()
            length, digest = len(content), content_digest(content)
            rows.append(preprocess.planes(content, decoding))
            tried.append(Tried(item, changed, length, digest, facts=facts_of(content)))
        except DataError as error:
            tried.append(Tried(item, changed, length, digest, str(error)))
    shape = (0, 3, preprocess.resolution, preprocess.resolution)
    return Decoded(np.stack(rows) if rows else np.empty(shape, np.uint8), tried)


def content_digest(content: bytes) -> str:
    """What tells the content of a file from any other."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


class Feed:
    """Decodes batches; `close` it, or use it in a `with`."""

    def __init__(self, preprocess: Preprocess, decoding: Decoding, workers: int) -> None:
        """Start `workers` processes; with 0, decoding happens in this one."""
        self._how = preprocess, decoding
        self._pool = Workers(workers) if workers else None

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def batches(self, wanted: Iterable[Sequence[Item]]) -> Iterator[Decoded]:
        """Each list of images as a batch, in order.

        Raises:
            DataError: a worker was killed.
        """
        waiting: deque[list[Future[Decoded]]] = deque()
        ahead = AHEAD if self._pool else 0
        for items in wanted:
            chunks = [items[at : at + CHUNK] for at in range(0, len(items), CHUNK)]
            waiting.append([submit(self._pool, decode, it, *self._how) for it in chunks])
            if len(waiting) > ahead:
                yield _joined(waiting.popleft())
        while waiting:
            yield _joined(waiting.popleft())


def _joined(parts: Sequence["Future[Decoded]"]) -> Decoded:
    done = [result(part) for part in parts]
    return Decoded(
        np.concatenate([part.planes for part in done]),
        [tried for part in done for tried in part.tried],
    )
