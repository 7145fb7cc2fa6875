"""The questions that any face passes on: which text fits an image, and which image a text.

Axes: N images, M texts, E embedding.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nnclip.errors import ConfigError, DataError, TextTooLongError
from nnclip.graph.losses import Scorer
from nnclip.service.embedded import AnyCollection
from nnclip.service.embedder import Embedder
from nnclip.service.images import ImageSource
from nnclip.service.limits import MAX_IMAGES, checked_template, checked_texts
from nnclip.service.model_pool import ModelPool
from nnclip.service.searched import Hit, Wanted
from nnclip.service.values import echo


@dataclass(frozen=True)
class Answer:
    """What a model says about N images and M texts.

    Attributes:
        categories: the M texts as they were asked for, without blanks and repetitions.
        texts: the same as they were compared, within their template.
        cosines: (N, M) float32, -1..1.
        scorer: turns cosines into logits and probabilities.
        seconds: how long it took.
        remark: what whoever reads it should know of the model.
        left_out: categories that the model cannot read, each with its tokens.
        most: tokens that it reads.
    """

    categories: list[str]
    texts: list[str]
    cosines: np.ndarray
    scorer: Scorer
    seconds: float
    remark: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)
    most: int = 0

    @property
    def empty(self) -> bool:
        """Whether the probability says nothing: it is 1 for any text that stands alone."""
        return len(self.texts) == 1 and bool((self.probabilities == 1).all())

    @property
    def logits(self) -> np.ndarray:
        """(N, M) float32."""
        return self.scorer.logits(self.cosines)

    @property
    def probabilities(self) -> np.ndarray:
        """(N, M) float32: of each text for an image; with the softmax loss, rows sum to 1."""
        return self.scorer.probabilities(self.cosines)


def classify(
    embedder: Embedder,
    images: Sequence[ImageSource],
    categories: str | Sequence[str],
    template: str | None = None,
    strict: bool = True,
) -> Answer:
    """Compare images with texts.

    Args:
        embedder: the model, from a `ModelPool`.
        images: one to MAX_IMAGES.
        categories: lines of a text, or a list.
        template: the text round each category, with one {}; "" and None stand for "{}".
        strict: a text longer than the model reads is an error; else it is left out, unless all are.

    Raises:
        DataError: too few or too many of anything, a text longer than the model reads, a file that
            is no image.
    """
    start = time.perf_counter()
    if not 0 < len(images) <= MAX_IMAGES:
        raise DataError(f"found {len(images) or 'no'} images, expected 1 to {MAX_IMAGES}")
    texts = checked_texts(categories)
    around = checked_template(template)
    filled = [around.replace("{}", text) for text in texts]
    long: dict[str, TextTooLongError] = {}
    try:
        text_ME = embedder.texts(filled)
    except TextTooLongError:
        long = {} if strict else _too_long(embedder, filled)
        if strict or len(long) == len(filled):
            raise
        texts = [text for text, whole in zip(texts, filled, strict=True) if whole not in long]
        filled = [whole for whole in filled if whole not in long]
        text_ME = embedder.texts(filled)
    cosines = embedder.images(images) @ text_ME.T
    return Answer(
        texts,
        filled,
        cosines,
        embedder.model.scorer,
        time.perf_counter() - start,
        embedder.remark,
        {text: error.tokens for text, error in long.items()},
        embedder.model.config.text.context,
    )


def _too_long(embedder: Embedder, texts: Sequence[str]) -> dict[str, TextTooLongError]:
    """Those of some texts that the model cannot read."""
    found = {}
    for text in texts:
        try:
            embedder.model.tokenize([text])
        except TextTooLongError as error:
            found[text] = error
    return found


def search(
    embedder: Embedder, collection: AnyCollection, query: str | ImageSource, k: int
) -> list[Hit]:
    """The images of a collection that fit a text, or another image, best.

    Args:
        embedder: the model, from a `ModelPool`.
        collection: where to look, from `named`.
        query: a text, with weights or without (`nnclip.search.query`), or an image that the others
            should be like.
        k: how many, at most.

    Raises:
        DataError: no text, one longer than the model reads, a file that is no image, or a
            collection of which nothing was read yet.
        ConfigError: another model embedded the collection.
    """
    if isinstance(query, str):
        return collection.find(embedder, Wanted(checked_texts([query])[0], k=k)).hits
    return collection.find(embedder, Wanted(image=query, k=k)).hits


def named(collections: Mapping[str, AnyCollection], name: str) -> AnyCollection:
    """The collection called `name`, "" for the first; ConfigError if there is none."""
    if not collections:
        raise ConfigError("found no images: start the page with --images and a folder of some")
    found = name or next(iter(collections))
    if found not in collections:
        raise ConfigError(
            f"found no collection {echo(name)}, expected one of {', '.join(collections)}"
        )
    return collections[found]


def offered(pool: ModelPool, collections: Mapping[str, AnyCollection]) -> dict[str, list[str]]:
    """What can be asked for: names of models and of collections."""
    return {"models": list(pool.names), "collections": list(collections)}
