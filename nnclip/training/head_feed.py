"""Batches of cached features, for the trainer: what `feed` is for images and captions.

Axes: N batch, P images, C captions, I and T width of the towers' features, S layers and E width
of a head.
"""

import dataclasses
import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnclip.errors import DataError
from nnclip.files import shown
from nnclip.graph.beside import text_inputs
from nnclip.graph.heads import HeadConfig, dropout_masks
from nnclip.graph.towers import TextTower
from nnclip.image import NotRead
from nnclip.sources.bad import Bad
from nnclip.sources.captions import texts_of
from nnclip.sources.table import open_table
from nnclip.text import AnyTokenizer
from nnclip.training.communicator import Communicator
from nnclip.training.data.pairs import CAPTION, PairTable, Stream
from nnclip.training.features import Features
from nnclip.training.feed import FedBatch, token_ids

logger = logging.getLogger(__name__)

SHOWN = 10  # broken images that are named
SPLIT, DROPOUT = 10, 11  # purposes of chance, beside those of `data.pairs`; 12 is the text's


@dataclass(frozen=True)
class TokenizedTexts:
    """Texts that are asked for by their rows as (N, L) int32 ids, not as features."""

    texts: Sequence[str]
    tower: TextTower
    tokenizer: AnyTokenizer
    context: int

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return token_ids(
            self.tower, self.tokenizer, [self.texts[row] for row in rows], self.context
        )


@dataclass(frozen=True)
class FeaturePairs:
    """Features of images (or of a teacher's texts) and of all that is said about each.

    Attributes:
        image: (P, I), mapped.
        text: (C, T), mapped; or the texts themselves, where their tower learns.
        first: (P + 1,) the texts of image p are rows first[p] to first[p + 1] - 1.
        rows: the images that are used.
        dropped: pairs without a caption.
        broken: images that cannot be read.
        not_read: what the source holds beside them.
    """

    image: np.ndarray
    text: np.ndarray | TokenizedTexts
    first: np.ndarray
    rows: np.ndarray
    dropped: int = 0
    broken: int = 0
    not_read: NotRead = field(default_factory=NotRead)

    def __len__(self) -> int:
        return len(self.rows)

    def fingerprint(self) -> int:
        """See `AnyTable`: of the features' number and of the images that are used."""
        counts = np.array([len(self.image), len(self.text)], np.int64)
        return zlib.crc32(np.concatenate([counts, self.first, self.rows]).astype("<i8").tobytes())

    def split(self, share: float, seed: int) -> tuple["FeaturePairs", "FeaturePairs"]:
        """A random share of the images, and the others; DataError if either is empty."""
        order = np.random.default_rng([seed, SPLIT]).permutation(self.rows)
        at = round(share * len(order))
        if not 0 < at < len(order):
            raise DataError(
                f"--split {share}: found {len(order)} pairs, too few for two parts; give more, or "
                "--split 1 to train on all of them"
            )
        parts = (np.sort(order[:at]), np.sort(order[at:]))
        first, second = (dataclasses.replace(self, rows=rows) for rows in parts)
        return first, second


def feature_pairs(table: PairTable, image: Features, text: Features) -> FeaturePairs:
    """The pairs of a table, without those whose image cannot be read.

    Raises:
        DataError: none can.
    """
    counts = [len(table[row].captions) for row in range(len(table))]
    rows = np.setdiff1d(np.arange(len(table)), list(image.broken))
    if not len(rows):
        raise DataError(f"found no readable image among {len(table)}")
    for reason in list(image.broken.values())[:SHOWN]:
        logger.warning("left out: %s", reason)
    if image.broken:
        logger.warning("%d of %d images cannot be read", len(image.broken), len(table))
    first = np.concatenate([[0], np.cumsum(counts)])
    left_out = table.dropped, len(image.broken), table.not_read
    return FeaturePairs(image.rows, text.rows, first, rows, *left_out)


def read_parallel(
    path: Path, separator: str = "", max_bad: int = 1000
) -> tuple[list[str], list[str]]:
    """The first two columns of a table with a header: texts, and the same in other words.

    Pairs of which one is empty are left out and counted.

    Raises:
        DataError: the file cannot be read, holds no pair, or more than `max_bad` rows that cannot
            be understood.
    """
    table = open_table(path, separator)
    columns, bad, pairs, empty = table.columns[:2], Bad(), list[tuple[str, ...]](), 0
    for number, cells in table.rows(bad, columns):
        sides = [texts_of(cells.get(column)) for column in columns]
        if None in sides:
            bad.note("row with what is no text", path, f"row {number}")
        elif len(sides) == 2 and all(sides):
            pairs.append(tuple(side[0].strip() for side in sides if side))
        else:
            empty += 1
    if not pairs:
        raise DataError(
            f"{shown(path)}: found no pair of texts, expected a header and, in the first two "
            "columns, what the teacher reads and what the student reads"
        )
    bad.check(path, max_bad, len(pairs))
    of = " and ".join(columns)
    logger.info("%s: found %s: texts from columns %s", shown(path), table.told, of)
    told = [f"{empty:,} rows without a pair of texts"] * bool(empty) + [str(bad)] * bool(bad)
    if told:
        logger.warning("%s: left out: %s", shown(path), ", ".join(told))
    teacher, student = zip(*pairs, strict=True)
    return list(teacher), list(student)


@dataclass(frozen=True)
class FeatureBatch:
    """What heads read.

    Attributes:
        image: (N, I) float32.
        text: (N, T) float32; or (N, L) integers, ids for the tower.
        keep: `image_keep` and `text_keep`, (N, S, E) each, of the heads that drop anything; none
            outside training.
    """

    image: np.ndarray
    text: np.ndarray
    keep: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image)

    def pieces(self, rows: int) -> Sequence["FeatureBatch"]:
        """See `AnyBatch`."""
        rows = rows or len(self)
        parts = [slice(at, at + rows) for at in range(0, len(self), rows)]
        return [
            FeatureBatch(self.image[p], self.text[p], {name: a[p] for name, a in self.keep.items()})
            for p in parts
        ]

    def inputs(self, text: TextTower) -> dict[str, np.ndarray]:
        """See `AnyBatch`."""
        ids = self.text.dtype.kind == "i"
        own = text_inputs(self.text, text) if ids else {"text_features": self.text}
        return {"image_features": self.image, **own, **self.keep}


class FeatureFeed:
    """Makes batches for two heads of one table of features."""

    def __init__(
        self,
        table: FeaturePairs,
        heads: dict[str, HeadConfig],
        batch: int,
        seed: int,
        context: int,
    ) -> None:
        """Prepare.

        Args:
            table: the pairs.
            heads: `image` and `text`, where there is one.
            batch: pairs per rank and step.
            seed: of the order, of the choice of captions, and of what is dropped.
            context: tokens of a caption, which were counted when features were made.
        """
        self.table, self._batch, self._seed, self.context = table, batch, seed, context
        self._dropping = {
            f"{side}_keep": head for side, head in heads.items() if head.layers and head.dropout
        }
        self._stream = Stream(len(table), seed)

    @contextmanager
    def training(
        self, communicator: Communicator, position: int, steps: int
    ) -> Iterator[Iterator[FedBatch]]:
        """See `Feed.training`."""
        own = self._batch
        first = position + communicator.rank * own
        starts = (first + step * own * communicator.size for step in range(steps))
        yield self._fed(self._dropped(start) for start in starts)

    @contextmanager
    def in_order(
        self, communicator: Communicator, share: Sequence[int]
    ) -> Iterator[Iterator[FedBatch]]:
        """See `Feed.in_order`."""
        own = self._batch
        parts = (list(share[at : at + own]) for at in range(0, len(share), own))
        full = (part + part[-1:] * (own - len(part)) for part in parts)
        yield self._fed(self._of(np.array(part), np.array(part)) for part in full)

    def workers(self, _: Communicator) -> int:
        """See `AnyFeed`: none, features are mapped."""
        return 0

    def close(self) -> None:
        """See `AnyFeed`: there is nothing to end."""

    @staticmethod
    def _fed(batches: Iterable[FeatureBatch]) -> Iterator[FedBatch]:
        return (FedBatch(batch, {}, []) for batch in batches)

    def _dropped(self, start: int) -> FeatureBatch:
        """The batch that begins with draw number `start`, with what its heads drop."""
        rows = self._batch
        order = np.array([draw.index for draw in self._stream.draws(start, rows)])
        chance = np.random.Philox(key=np.array([self._seed, CAPTION], np.uint64)).advance(start)
        plain = self._of(order, chance.random_raw(4 * rows)[::4] >> np.uint64(1))
        keep = {
            name: dropout_masks((self._seed, DROPOUT + number), start, rows, head)
            for number, (name, head) in enumerate(self._dropping.items())
        }
        return dataclasses.replace(plain, keep=keep)

    def _of(self, order: np.ndarray, choice: np.ndarray) -> FeatureBatch:
        """The images of these rows of the table, each with one of its texts.

        Args:
            order: (N,) rows.
            choice: (N,) numbers; the remainder by the number of texts is the text.
        """
        table = self.table
        images = table.rows[order]
        counts = table.first[images + 1] - table.first[images]
        texts = table.text[table.first[images] + choice.astype(np.int64) % counts]
        if texts.dtype.kind == "f":  # the cache may hold float16
            texts = texts.astype("f4")
        return FeatureBatch(table.image[images].astype("f4"), texts)
