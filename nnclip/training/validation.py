"""The loss and the accuracies over a whole validation set, shared among the ranks.

Axes: M pairs, E embedding.
"""

import logging
from dataclasses import dataclass

import numpy as np

from nnclip.embeddings import unit
from nnclip.errors import DataError
from nnclip.graph.losses import Scorer
from nnclip.training.communicator import Communicator
from nnclip.training.feed import AnyFeed
from nnclip.training.step import ContrastiveStep

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors of pairs, row by row: (M, E) float32 each."""

    image: np.ndarray
    text: np.ndarray


def embed_table(step: ContrastiveStep, feed: AnyFeed, communicator: Communicator) -> Embeddings:
    """Embeddings of every pair whose image can be read, the same on every rank.

    Raises:
        DataError: there is none.
    """
    count, size = len(feed.table), communicator.size
    share = -(-count // size)  # as many on every rank: the last repeat the last pair
    rows = [min(communicator.rank * share + i, count - 1) for i in range(share)]
    images, texts, whole = [], [], []
    broken: dict[str, str] = {}
    with feed.in_order(communicator, rows) as batches:
        for fed in batches:
            image, text = step.features(fed.batch)
            images.append(image)
            texts.append(text)
            broken |= fed.broken
            whole.append(np.isin(np.arange(len(fed.batch)), fed.replaced, invert=True))
    image, text, readable = (
        communicator.gather_rows(np.concatenate(part)[:share])[:count]
        for part in (images, texts, whole)
    )
    for one in communicator.gather(broken)[1:]:
        broken |= one
    if not readable.any():
        raise DataError("--val-txt-path: found no readable image in the validation set")
    if broken and communicator.rank == 0:
        logger.warning(
            "validation: %d of %d images cannot be read and count in no number, such as %s",
            len(broken),
            count,
            next(iter(broken.values())),
        )
    return Embeddings(unit(image[readable]), unit(text[readable]))


def accuracies(found: Embeddings) -> dict[str, float]:
    """How often an image finds its own text first among these, and a text its image."""
    similarity = found.image @ found.text.T
    rows = np.arange(len(similarity))
    return {
        "image_accuracy": float((similarity.argmax(1) == rows).mean()),
        "text_accuracy": float((similarity.argmax(0) == rows).mean()),
    }


def loss_value(found: Embeddings, scorer: Scorer) -> float:
    """The loss of these pairs as one batch."""
    return scorer.value(found.image @ found.text.T)


def validate(found: Embeddings, batch: int, scorer: Scorer) -> dict[str, float]:
    """The numbers of a validation: those of consecutive batches of `batch` pairs, averaged.

    So they compare with training's, which depend on the size of the batch.
    """
    parts = [
        Embeddings(found.image[at : at + batch], found.text[at : at + batch])
        for at in range(0, len(found.image), batch)
    ]
    weights = [len(part.image) for part in parts]
    values = [{"loss": loss_value(part, scorer), **accuracies(part)} for part in parts]
    return {
        f"validation_{name}": float(np.average([v[name] for v in values], weights=weights))
        for name in values[0]
    }
