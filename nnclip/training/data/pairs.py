"""Tables of captioned images, and which of them the k-th batch holds."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from nnclip.errors import DataError
from nnclip.files import to_name
from nnclip.image import NotRead


@dataclass(frozen=True)
class Pair:
    """An image and what is said about it.

    Attributes:
        path: the image's file, or the tar file that holds it.
        captions: one or more; each epoch uses one of them, drawn at random.
        offset: where the image starts in a tar file.
        size: its length in bytes there; -1 for a file of its own.
        form: see `nnclip.sources.Stored`.
    """

    path: str
    captions: tuple[str, ...]
    offset: int = 0
    size: int = -1
    form: str = ""

    @property
    def name(self) -> str:
        """What messages call it."""
        path = to_name(self.path)
        return path if self.size < 0 else f"{path} (byte {self.offset:,})"


class PairTable:
    """Many pairs in little memory: one string of bytes instead of millions of Python objects.

    Attributes:
        not_read: what the source holds beside them.
        dropped: pairs without a caption.
    """

    def __init__(self, pairs: Iterable[Pair], not_read: NotRead | None = None) -> None:
        """Keep the pairs; empty captions are dropped, and pairs without any other are counted.

        Args:
            pairs: they.
            not_read: what their reader passed over; complete once `pairs` is read.

        Raises:
            DataError: no pair is left.
        """
        self.not_read = NotRead() if not_read is None else not_read
        rows, offsets, self.dropped = bytearray(), [0], 0
        for pair in pairs:
            captions = [c.strip() for c in pair.captions if c and c.strip()]
            if not captions:
                self.dropped += 1
                continue
            fields = [pair.path, str(pair.offset), str(pair.size), pair.form, *captions]
            rows += "\0".join(fields).encode("utf-8", "surrogateescape")
            offsets.append(len(rows))
        self._rows, self._offsets = bytes(rows), np.array(offsets, np.int64)
        if not len(self):
            passed = f", {self.not_read.told}" if self.not_read else ""
            raise DataError(
                f"found no captioned image ({self.dropped} without a caption{passed}): check "
                "the path and the names of the columns"
            )

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> Pair:
        row = self._rows[self._offsets[index] : self._offsets[index + 1]]
        path, offset, size, form, *captions = row.decode("utf-8", "surrogateescape").split("\0")
        return Pair(path, tuple(captions), int(offset), int(size), form)

    def fingerprint(self) -> int:
        """A hash of the pairs and of their order."""
        return zlib.crc32(self._rows)

    def captions(self) -> Iterator[str]:
        """Every caption."""
        for index in range(len(self)):
            yield from self[index].captions


def by_image(table: PairTable) -> PairTable:
    """The same pairs with one row for each image, which holds all its captions."""
    rows: dict[tuple[str, int, int, str], list[str]] = {}
    for number in range(len(table)):
        pair = table[number]
        place = pair.path, pair.offset, pair.size, pair.form
        rows.setdefault(place, []).extend(pair.captions)
    pairs = (Pair(path, tuple(c), at, size, form) for (path, at, size, form), c in rows.items())
    gathered = PairTable(pairs, table.not_read)
    gathered.dropped = table.dropped
    return gathered


@dataclass(frozen=True)
class Draw:
    """One pair taken in one epoch; the source of all chance in its preparation.

    Attributes:
        seed: of the run.
        epoch: 0, 1, ...
        index: the pair's row in the table.
    """

    seed: int
    epoch: int
    index: int

    def rng(self, purpose: int) -> np.random.Generator:
        """Random numbers that depend on the draw and the purpose alone, not on who prepares it."""
        return np.random.default_rng([self.seed, self.epoch, self.index, purpose])


CAPTION, CROP, SUBSTITUTE, ORDER, TEMPLATE, WORDS, COLOUR = range(7)  # purposes


class Stream:
    """The endless sequence of draws: one seeded permutation of the table after another.

    Batches are consecutive pieces of it, so nothing is left out or repeated within an epoch, the
    k-th batch does not depend on how many ranks share it, and one number is the whole position.
    """

    def __init__(self, length: int, seed: int, together: int = 1) -> None:
        """Keep what fixes the order.

        Args:
            length: rows of the table.
            seed: of the run.
            together: rows that are moved as one and stay in order.
        """
        self.length, self.seed, self._together = length, seed, together
        self._orders: dict[int, np.ndarray] = {}

    def draws(self, start: int, count: int) -> list[Draw]:
        """The draws number `start` to `start + count - 1`."""
        return [self._draw(position) for position in range(start, start + count)]

    def _draw(self, position: int) -> Draw:
        epoch, place = divmod(position, self.length)
        if epoch not in self._orders:
            rng = np.random.default_rng([self.seed, epoch, 0, ORDER])
            # the epoch before is still wanted by a batch that began in it
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            runs = rng.permutation(-(-self.length // self._together))
            order = (runs[:, None] * self._together + np.arange(self._together)).ravel()
            self._orders[epoch] = order[order < self.length]
        return Draw(self.seed, epoch, int(self._orders[epoch][place]))

    def substitute(self, draw: Draw, attempt: int) -> Draw:
        """Another pair for one that cannot be read: the same one on every rank and every run."""
        rng = np.random.default_rng([draw.seed, draw.epoch, draw.index, SUBSTITUTE, attempt])
        return Draw(draw.seed, draw.epoch, int(rng.integers(self.length)))
