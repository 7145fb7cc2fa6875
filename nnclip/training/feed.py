"""From tables to batches of arrays: this rank's part of training and of validation."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from nnclip.graph.config import VitConfig
from nnclip.text import Tokenizer, end_of_text_positions
from nnclip.training.communicator import Communicator
from nnclip.training.config import TrainConfig
from nnclip.training.data.decode import Recipe
from nnclip.training.data.loader import Loader
from nnclip.training.data.pairs import Draw, PairTable
from nnclip.training.data.readers import read_pairs
from nnclip.training.step import Batch

BUCKET = 16  # tokens; a batch's texts are cut to its longest, rounded up to a multiple


@dataclass(frozen=True)
class FedBatch:
    """A batch and what came with it.

    Attributes:
        batch: ready for a step; its pictures are overwritten once the next one is asked for.
        broken: name -> what is wrong with it, of the pictures that were replaced.
        replaced: their rows.
    """

    batch: Batch
    broken: dict[str, str]
    replaced: list[int]


class Feed:
    """Makes batches for one model and one table."""

    def __init__(
        self,
        config: TrainConfig,
        source: str,
        image: VitConfig,
        tokenizer: Tokenizer,
        context: int,
        crop: float | None,
    ) -> None:
        """Read the table.

        Args:
            config: says how tables are read and pictures decoded.
            source: of the pairs, see `readers.read_pairs`.
            image: what the model wants to see.
            tokenizer: the model's.
            context: tokens of a caption.
            crop: see `decode.Recipe`.

        Raises:
            DataError: no such source, or nothing in it.
        """
        self.table: PairTable = read_pairs(
            source,
            config.image_root or None,
            config.csv_img_key,
            config.csv_caption_key,
            config.every_caption,
        )
        self._config, self._tokenizer, self._context = config, tokenizer, context
        self._recipe = Recipe(image.resolution, image.mean, image.std, crop)

    @contextmanager
    def training(
        self, communicator: Communicator, position: int, steps: int
    ) -> Iterator[Iterator[FedBatch]]:
        """This rank's part of the next `steps` global batches, from draw `position` on."""
        own = self._config.batch_size
        first = position + communicator.rank * own
        starts = (first + step * own * communicator.size for step in range(steps))
        with self._loader(communicator) as loader:
            spans = (loader.stream.draws(start, own) for start in starts)
            yield self._batches(loader, spans)

    @contextmanager
    def in_order(
        self, communicator: Communicator, share: Sequence[int]
    ) -> Iterator[Iterator[FedBatch]]:
        """The pairs of these rows, in this order; the last batch is filled up with its last row."""
        rows = self._config.batch_size
        with self._loader(communicator) as loader:
            parts = (list(share[at : at + rows]) for at in range(0, len(share), rows))
            full = (part + part[-1:] * (rows - len(part)) for part in parts)
            spans = ([Draw(self._config.seed, 0, index) for index in part] for part in full)
            yield self._batches(loader, spans)

    def _batches(self, loader: Loader, spans: Iterable[list[Draw]]) -> Iterator[FedBatch]:
        for raw in loader.batches(iter(spans)):
            batch = Batch(raw.images, self.ids(raw.captions))
            yield FedBatch(batch, raw.broken, raw.replaced)

    def ids(self, captions: list[str]) -> np.ndarray:
        """Token ids of captions, without the columns that no caption reaches: (N, L) int32."""
        ids_NL = self._tokenizer(captions, self._context, truncate=True)
        longest = int(end_of_text_positions(ids_NL).max()) + 1
        length = min(-(-longest // BUCKET) * BUCKET, self._context)
        return np.ascontiguousarray(ids_NL[:, :length])

    def _loader(self, communicator: Communicator) -> Loader:
        workers = self._config.workers
        if workers < 0:
            workers = max(1, (os.cpu_count() or 1) // communicator.local_size)
        config = self._config
        return Loader(self.table, self._recipe, config.batch_size, config.seed, workers)
