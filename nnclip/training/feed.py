"""From tables to batches of arrays: this rank's part of training and of validation."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from nnclip.graph.beside import text_inputs, used_columns
from nnclip.graph.towers import ImageTower, TextTower
from nnclip.image import Colours, NotRead, Preprocess
from nnclip.sources import TRAINING, VALIDATION
from nnclip.text import AnyTokenizer
from nnclip.text.prompts import read_templates
from nnclip.training.batch import AnyBatch, Batch
from nnclip.training.communicator import Communicator
from nnclip.training.config import TrainConfig
from nnclip.training.data.captions import Captions
from nnclip.training.data.decode import Recipe
from nnclip.training.data.loader import Loader
from nnclip.training.data.pairs import Draw, PairTable, by_image
from nnclip.training.data.readers import read_pairs, show_pairs

BUCKET = 16  # tokens; a batch's texts are cut to its longest, rounded up to a multiple


@dataclass(frozen=True)
class FedBatch:
    """A batch and what came with it.

    Attributes:
        batch: ready for a step; its arrays are overwritten once the next one is asked for.
        broken: name -> what is wrong with it, of the images that were replaced.
        replaced: their rows.
    """

    batch: AnyBatch
    broken: dict[str, str]
    replaced: list[int]


class AnyTable(Protocol):
    """Pairs that can be counted, and how many were left out."""

    @property
    def dropped(self) -> int:
        """Pairs without a caption."""
        ...

    @property
    def not_read(self) -> NotRead:
        """What the source holds beside them."""
        ...

    def __len__(self) -> int: ...

    def fingerprint(self) -> int:
        """A hash of the pairs and of their order."""
        ...


class AnyTeacher(Protocol):
    """See `distil.Teacher`."""

    @property
    def scale(self) -> float:
        """What it multiplies cosines by."""
        ...

    def of(self, draws: Sequence[Draw]) -> dict[str, np.ndarray]:
        """Side -> its embeddings of these draws."""
        ...


class AnyFeed(Protocol):
    """What makes batches; see `Feed`."""

    @property
    def table(self) -> AnyTable:
        """The pairs."""
        ...

    @property
    def context(self) -> int:
        """Tokens of a caption, at most."""
        ...

    def training(
        self, communicator: Communicator, position: int, steps: int
    ) -> AbstractContextManager[Iterator[FedBatch]]:
        """This rank's part of the next `steps` global batches, from draw `position` on."""
        ...

    def in_order(
        self, communicator: Communicator, share: Sequence[int]
    ) -> AbstractContextManager[Iterator[FedBatch]]:
        """The pairs of these rows, in this order; the last batch is filled up with its last row."""
        ...

    def workers(self, communicator: Communicator) -> int:
        """Processes that prepare batches for this rank."""
        ...

    def close(self) -> None:
        """End the processes that `in_order` has kept."""
        ...


class Feed:
    """Makes batches for one model and one table.

    Attributes:
        table: the pairs.
        context: tokens of a caption, at most.
        teacher: whose embeddings batches bring along; None for none.
    """

    def __init__(
        self,
        config: TrainConfig,
        source: str,
        image: ImageTower,
        text: TextTower,
        tokenizer: AnyTokenizer,
        context: int,
        training: bool,
    ) -> None:
        """Read the table.

        Args:
            config: says how tables are read and images decoded.
            source: of the pairs, see `readers.read_pairs`.
            image: what the model wants to see.
            text: what reads the captions.
            tokenizer: the model's.
            context: tokens of a caption.
            training: whether images and captions are changed by chance, as the settings say.

        Raises:
            DataError: no such source, or nothing in it.
        """
        self.table: PairTable = read_pairs(
            source,
            config.image_root or None,
            config.csv_img_key,
            config.csv_caption_key,
            config.every_caption,
            config.separator,
            config.max_bad,
            TRAINING if training else VALIDATION,
        )
        if config.group_captions:
            self.table = by_image(self.table)
        show_pairs(source, self.table)
        self._config, self.context = config, context
        self._text, self._tokenizer = text, tokenizer
        self._recipe = recipe_of(config, image.preprocess, training)
        self._captions = captions_of(config, training)
        self._kept: Loader | None = None
        self.teacher: AnyTeacher | None = None

    def preview(self, path: Path, communicator: Communicator, position: int) -> None:
        """Write a contact sheet of this rank's next batch; see `preview.write_preview`."""
        from nnclip.training.preview import MOST, write_preview  # needs matplotlib's fonts

        own = self._config.batch_size
        with self._loader(communicator, workers=0) as loader:
            draws = loader.stream.draws(position + communicator.rank * own, min(own, MOST))
            raw = next(loader.batches(iter([draws])))
            captions = [self._tokenizer.decode(ids) for ids in self.ids(raw.captions)]
            write_preview(path, raw.images, captions, self._recipe.preprocess)

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
        """See `AnyFeed`; what decodes is kept for the next call, until `close`."""
        rows = self._config.batch_size
        parts = (list(share[at : at + rows]) for at in range(0, len(share), rows))
        full = (part + part[-1:] * (rows - len(part)) for part in parts)
        spans = ([Draw(self._config.seed, 0, index) for index in part] for part in full)
        loader = self._kept or self._loader(communicator)
        self._kept, whole = None, False

        def batches() -> Iterator[FedBatch]:
            nonlocal whole
            yield from self._batches(loader, spans)
            whole = True

        try:
            yield batches()
        finally:
            if whole:  # nothing is being decoded for a caller that is gone
                self._kept = loader
            else:
                loader.close()

    def close(self) -> None:
        """See `AnyFeed`."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _batches(self, loader: Loader, spans: Iterable[list[Draw]]) -> Iterator[FedBatch]:
        for raw in loader.batches(iter(spans)):
            told = self.teacher.of(raw.draws) if self.teacher is not None else {}
            batch = Batch(raw.images, self.ids(raw.captions), told)
            yield FedBatch(batch, raw.broken, raw.replaced)

    def ids(self, captions: list[str]) -> np.ndarray:
        """See `token_ids`."""
        return token_ids(self._text, self._tokenizer, captions, self.context)

    def workers(self, communicator: Communicator) -> int:
        """Processes that decode images for this rank: as asked for, or its share of the cores."""
        if self._config.workers >= 0:
            return self._config.workers
        return max(1, (os.cpu_count() or 1) // communicator.local_size)

    def _loader(self, communicator: Communicator, workers: int | None = None) -> Loader:
        config = self._config
        workers = self.workers(communicator) if workers is None else workers
        rows, seed, together = config.batch_size, config.seed, config.keep_together
        return Loader(self.table, self._recipe, rows, seed, workers, together, self._captions)


def recipe_of(config: TrainConfig, preprocess: Preprocess, training: bool) -> Recipe:
    """How images become rows; in validation all alike."""
    if not (training and config.augment):
        return Recipe(preprocess, None, config.decoding)
    colours = Colours(config.color_jitter, config.color_jitter_share, config.grayscale)
    return Recipe(preprocess, config.crop_scale, config.decoding, config.aspect_jitter, colours)


def captions_of(config: TrainConfig, training: bool) -> Captions:
    """How captions are made; in validation whole, and by the first template."""
    templates = tuple(read_templates(config.templates, "--templates")) if config.templates else ()
    return Captions(templates, config.caption_dropout) if training else Captions(templates[:1])


def token_ids(
    tower: TextTower, tokenizer: AnyTokenizer, texts: list[str], context: int
) -> np.ndarray:
    """Token ids of texts, without the columns that change no feature of the tower: (N, L) int32."""
    ids_NL = tokenizer(texts, context, truncate=True)
    used = int(used_columns(text_inputs(ids_NL, tower), tower).max(initial=1))
    length = min(-(-used // BUCKET) * BUCKET, context)
    return np.ascontiguousarray(ids_NL[:, :length])
