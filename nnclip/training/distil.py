"""Distillation: a teacher says of each image how well every text of the batch fits it.

Axes: N this rank's batch, M the pairs that are contrasted, P rows of the table, I images, C
captions, E embedding of the teacher.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnclip.embeddings import softmax, unit
from nnclip.engine.contexts import float_context
from nnclip.errors import ConfigError
from nnclip.graph.similarity import normalise, similarity
from nnclip.nnabla import F, nn
from nnclip.training.batch import AnyBatch, Batch
from nnclip.training.data.captions import choice
from nnclip.training.data.pairs import Draw, PairTable, by_image
from nnclip.training.ranks_loss import SIDES, TARGET
from nnclip.training.step import ContrastiveStep


@dataclass(frozen=True)
class Teacher:
    """What a teacher makes of the pairs of one table.

    Attributes:
        table: the pairs.
        image: (I, E) features, mapped.
        text: (C, E) features, mapped.
        image_of: (P,) the row of `image` that shows the image of a pair.
        first_text: (P,) the row of `text` that holds a pair's first caption.
        scale: what the teacher multiplies cosines by.
    """

    table: PairTable
    image: np.ndarray
    text: np.ndarray
    image_of: np.ndarray
    first_text: np.ndarray
    scale: float

    def of(self, draws: Sequence[Draw]) -> dict[str, np.ndarray]:
        """Side -> the teacher's embeddings (N, E) of these draws."""
        rows = np.array([draw.index for draw in draws])
        chosen = np.array([choice(self.table[draw.index], draw) for draw in draws])
        found = self.image[self.image_of[rows]], self.text[self.first_text[rows] + chosen]
        return {
            side: unit(part.astype(np.float32)) for side, part in zip(SIDES, found, strict=True)
        }


Teach = Callable[[PairTable], Teacher]


def places(table: PairTable) -> tuple[PairTable, np.ndarray, np.ndarray]:
    """Where a table's pairs stand among its distinct images and their captions.

    Returns: the table with a row for each image, `image_of` and `first_text` of `Teacher`.
    """
    grouped = by_image(table)
    counts = [len(grouped[row].captions) for row in range(len(grouped))]
    begin = np.concatenate([[0], np.cumsum(counts)])
    index: dict[Any, int] = {}
    image_of, first_text = np.zeros(len(table), np.int64), np.zeros(len(table), np.int64)
    taken = np.zeros(len(grouped), np.int64)
    for row in range(len(table)):
        pair = table[row]
        place = pair.path, pair.offset, pair.size, pair.form
        image = index.setdefault(place, len(index))
        image_of[row], first_text[row] = image, begin[image] + taken[image]
        taken[image] += len(pair.captions)
    return grouped, image_of, first_text


class DistilledStep(ContrastiveStep):
    """A step whose loss has a second part: the cross-entropy from the teacher's probabilities.

    Source: CLIP-KD and open_clip's DistillClipLoss, whose two parts are added.
    """

    def __init__(self, *arguments: Any, scale: float) -> None:
        """See `ContrastiveStep`.

        Args:
            arguments: its own.
            scale: see `Teacher`.

        Raises:
            ConfigError: the student's loss has no probabilities over a batch.
        """
        super().__init__(*arguments)
        self._scale = scale
        if self._loss_kind.name != "softmax":
            raise ConfigError(
                f"--distil: found a student with the {self._loss_kind.name} loss, expected softmax "
                "(--loss softmax)"
            )

    def _targets(self, batch: AnyBatch) -> dict[str, np.ndarray]:
        assert isinstance(batch, Batch)
        own = batch.teacher
        gather = self._communicator.gather_rows if self._shares else np.asarray
        return {
            f"{TARGET}{side}": softmax(self._scale * own[side] @ gather(own[other]).T)
            for side, other in (("image", "text"), ("text", "image"))
        }

    def _loss_graph(self, features: dict[str, nn.Variable], first: int) -> nn.Variable:
        told = {k: v for k, v in features.items() if k.startswith(TARGET)}
        given = {k: v for k, v in features.items() if k not in told}
        contrastive = super()._loss_graph(given, first)
        with nn.context_scope(float_context()):
            rows = {name: normalise(variable) for name, variable in given.items()}
            parts = []
            for side, other in (("image", "text"), ("text", "image")):
                others = rows.get(f"all_{other}", rows[other])
                logits_NM = similarity(rows[side], others, self._scalars)
                likely_NM = F.log_softmax(logits_NM, axis=1)
                parts.append(-F.mean(F.sum(told[f"{TARGET}{side}"] * likely_NM, axis=1)))
            return contrastive + (parts[0] + parts[1]) * 0.5
