"""Images found by words, or by an image that is like them.

    from nnclip import clip
    from nnclip.search import ImageSearch

    found = ImageSearch.open("EMB", clip.load())
    found.search("a red bicycle", amount=5)  # [{"image": ..., "prob": ..., "cosine": ...}, ...]

Axes: N images, E embedding.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.graph.losses import USUAL
from nnclip.search.manifest import Model
from nnclip.search.memory import MemoryStore, Store
from nnclip.search.rows import unit_rows

if TYPE_CHECKING:
    from nnclip.search.store import LastingStore

AMOUNT = 10


class ImageSearch:
    """Searches embedded images.

    Attributes:
        store: where the embeddings are.
        model: what embeds the queries.
    """

    def __init__(self, embeddings: np.ndarray, records: Sequence[Any], model: Model) -> None:
        """Search arrays of this process.

        Args:
            embeddings: (N, E) floats, one row an image, of any length.
            records: N of them, of any kind; a dict that has `image` answers with that.
            model: the model that made the embeddings.

        Raises:
            DataError: they do not fit together, or embeddings are not finite.
        """
        self.store: Store | LastingStore = MemoryStore(embeddings, records)
        self.model: Model | None = model

    @classmethod
    def open(
        cls, place: str | Path, model: Model | None = None, *, exact: bool = False
    ) -> "ImageSearch":
        """Search a collection that `python -m nnclip embed` made.

        Args:
            place: its folder, or `postgresql://...`.
            model: the model that embedded it; without one, only vectors can be asked for.
            exact: look at every image for every query, whatever index there is.

        Raises:
            DataError: there is no collection, or a damaged one.
            ConfigError: another model.
        """
        from nnclip.search.store import open_store  # needs FAISS and pyarrow

        return cls.over(open_store(place, exact), model)

    @classmethod
    def over(cls, store: "MemoryStore | LastingStore", model: Model | None = None) -> "ImageSearch":
        """Search a store that is open already; ConfigError if another model embedded it."""
        if model is not None and not isinstance(store, MemoryStore):
            store.manifest.check_model(model)
        found = cls.__new__(cls)
        found.store, found.model = store, model
        return found

    def __len__(self) -> int:
        """Number of images."""
        return len(self.store)

    def search(self, text: str, amount: int = AMOUNT) -> list[dict[str, Any]]:
        """The images that fit a text best.

        Args:
            text: what they should show.
            amount: how many, at most.

        Returns:
            The best first, each with `image` (its record, or the name in it), `cosine`, and `prob`:
            how likely it is meant, by the model's loss. With the softmax loss, that is the softmax
            of logit_scale * cosine over all images; by an approximate index, the sum over
            images that were not looked at is estimated from a sample of them. With the sigmoid
            loss, each image is judged apart.

        Raises:
            DataError: an empty text, or one that is longer than the model reads.
            ConfigError: no model, or an amount below 1.
        """
        if not text.strip():
            raise DataError("found an empty query, expected a text")
        model = self._model()
        return self.nearest(model.encode_text(model.tokenize([text])), amount)

    def search_image(self, image: Any, amount: int = AMOUNT) -> list[dict[str, Any]]:
        """The images most like one: a path, bytes, `BytesIO` or `PIL.Image`; see `search`."""
        model = self._model()
        return self.nearest(model.encode_image(model.preprocess_image(image)), amount)

    def nearest(self, vector: np.ndarray, amount: int = AMOUNT) -> list[dict[str, Any]]:
        """The images nearest to a vector (E,) or (1, E), of any length; see `search`."""
        if amount < 1:
            raise ConfigError(f"amount {amount}: expected at least 1")
        query_E = unit_rows(np.reshape(vector, (1, -1)))[0]
        scorer = USUAL if self.model is None else self.model.scorer
        found = self.store.nearest(query_E, amount, scorer.scale)
        probs = scorer.among(found.cosines, found.log_total)
        return [
            {"image": _image(record), "prob": float(prob), "cosine": float(cosine)}
            for record, prob, cosine in zip(
                self.store.records(found.rows.tolist()), probs, found.cosines, strict=True
            )
        ]

    def _model(self) -> Model:
        if self.model is None:
            raise ConfigError(
                "found no model to embed the query with, expected one: ImageSearch.open(place, "
                "clip.load(...))"
            )
        return self.model


def _image(record: Any) -> Any:
    return record["image"] if isinstance(record, dict) and "image" in record else record
