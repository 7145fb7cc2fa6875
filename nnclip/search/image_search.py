"""Images found by words, or by an image that is like them.

    from nnclip import clip
    from nnclip.search import ImageSearch

    found = ImageSearch.open("EMB", clip.load())
    found.search("a beach", k=5, not_="people", where={"after": "2019", "camera": "canon"})
    # [{"image": ..., "prob": ..., "cosine": ..., "percentile": ...}, ...]

Axes: N images, E embedding.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.files import shown, to_name
from nnclip.graph.losses import USUAL, Scorer
from nnclip.image import USUAL_DECODING
from nnclip.image.opening import ImageSource
from nnclip.search.filters import Filter
from nnclip.search.hits import Answer, Hit, as_dicts
from nnclip.search.manifest import Model
from nnclip.search.memory import MemoryStore, Store
from nnclip.search.query import K, Query, Term, read_query
from nnclip.search.rows import NO_ROWS, unit_rows

if TYPE_CHECKING:
    from nnclip.search.store import LastingStore

logger = logging.getLogger(__name__)


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
        """Search a collection that `nnclip embed` made, or is still making.

        Args:
            place: its folder, or `postgresql://...`.
            model: the model that embedded it; without one, only vectors and images of the
                collection can be asked for.
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

    def search(
        self,
        text: str | Sequence[str] = (),
        k: int = K,
        *,
        not_: str | Sequence[str] = (),
        image: ImageSource | None = None,
        like: str | Path | None = None,
        where: Mapping[str, Any] | None = None,
        min_cosine: float | None = None,
        truncate: bool = False,
    ) -> list[dict[str, Any]]:
        """The images that fit best.

        Args:
            text: what they should show; may hold weights, see `nnclip.search.query`.
            k: how many, at most.
            not_: what they should not show.
            image: that they should be like: a path, bytes, `BytesIO` or `PIL.Image`.
            like: an image of the collection that they should be like; it is not found itself.
            where: filters, see `nnclip.search.filters`: {"under": "photos/2019", "width": {"min":
                3000}}.
            min_cosine: images below it are not found.
            truncate: cut texts that are longer than the model reads.

        Returns:
            The best first, each with `image` (its record, or the name in it), `cosine`, and
            `percentile`: how many per cent of the collection's other images fit less well. `prob`
            is how likely an image is meant, by the model's loss. With the softmax loss, that is the
            softmax of logit_scale * cosine over all images that pass the filters; by an approximate
            index, the sum over images that were not looked at is estimated from a sample of them.
            With the sigmoid loss, each image is judged apart.

        Raises:
            DataError: nothing to look for, an empty text, one that is longer than the model reads,
                an image that cannot be read, or a filter that cannot be.
            ConfigError: no model, or a k below 1.
        """
        query = read_query(
            text, not_=not_, images=[] if image is None else [image],
            like=[] if like is None else [like], where=where, k=k, min_cosine=min_cosine,
            truncate=truncate,
        )  # fmt: skip
        return as_dicts(self.find(query))

    def search_image(self, image: ImageSource, k: int = K) -> list[dict[str, Any]]:
        """The images most like one: a path, bytes, `BytesIO` or `PIL.Image`; see `search`."""
        return self.search(k=k, image=image)

    def nearest(
        self, vector: np.ndarray, k: int = K, *, where: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The images nearest to a vector (E,) or (1, E), of any length; see `search`."""
        query = read_query(terms=[Term("vector", vector)], where=where, k=k)
        return as_dicts(self.find(query))

    def find(self, query: Query) -> Answer:
        """What a query finds; errors as for `search`."""
        with self.store.steady():
            rows, itself = self._embedded(query)
            return self.answer(query, query.combined(rows), itself)

    def answer(
        self,
        query: Query,
        query_E: np.ndarray,
        skipped: Sequence[int] = (),
        scorer: Scorer | None = None,
    ) -> Answer:
        """What a query finds whose terms were embedded elsewhere.

        Args:
            query: it.
            query_E: (E,) float32, `Query.combined` of the terms' embeddings.
            skipped: rows that are not to be found.
            scorer: makes probabilities of cosines; None for the model's.
        """
        images = len(self.store)
        left_out, silent, last = self._left_out(query.where)
        left_out = np.union1d(left_out, np.array(skipped, np.int64)) if skipped else left_out
        scorer = scorer or (USUAL if self.model is None else self.model.scorer)
        found = self.store.nearest(query_E, query.k, scorer.scale, left_out)
        probs = scorer.among(found.cosines, found.log_total)
        records = self.store.records(found.rows.tolist())
        least = -np.inf if query.min_cosine is None else query.min_cosine
        hits = [
            Hit(record, float(cosine), None if np.isnan(per_cent) else float(per_cent), float(prob))
            for row, record, cosine, per_cent, prob in zip(
                found.rows, records, found.cosines, found.percentiles, probs, strict=True
            )
            if cosine >= least and row <= last
        ]
        return Answer(hits, images, images - len(left_out) if len(left_out) else images, silent)

    def _left_out(self, filters: Sequence[Filter]) -> tuple[np.ndarray, dict[str, int], float]:
        """Rows that do not pass filters, how many images say nothing in each field, the last row.

        Rows behind the last one came since, and were not compared.
        """
        if not filters:
            return NO_ROWS, {}, np.inf
        fields = list(dict.fromkeys(name for it in filters for name in it.fields))
        from nnclip.search.passing import passing  # needs pyarrow

        rows, columns = self.store.columns(fields)
        mask = passing(filters, columns, len(rows))
        silent = {name: columns[name].null_count for name in fields}
        return rows[~mask], silent, float(rows[-1]) if len(rows) else -1.0

    def _embedded(self, query: Query) -> tuple[dict[str, list[np.ndarray]], list[int]]:
        """Unit vectors of the terms by kind, and rows that the query names itself."""
        found: dict[str, list[np.ndarray]] = {
            "vector": [unit_rows(np.reshape(it, (1, -1)))[0] for it in query.of("vector")]
        }
        if texts := query.of("text"):
            model = self._model()
            ids = model.tokenize(texts, truncate=query.truncate)
            found["text"] = list(unit_rows(model.encode_text(ids)))
        itself, found["like"] = list[int](), []
        for name in query.of("like"):
            known = self.known(name)
            itself += [] if known is None else [known[0]]
            found["like"].append(self._like(name) if known is None else known[1])
        found["image"] = [self._image(image) for image in query.of("image")]
        return found, itself

    def known(self, image: Any) -> tuple[int, np.ndarray] | None:
        """Row and embedding (E,) of an image of the collection, by its name or path; else None."""
        from nnclip.search.passing import passing  # needs pyarrow

        rows, columns = self.store.columns(["image"])
        for wanted in dict.fromkeys([to_name(os.path.abspath(str(image))), str(image)]):
            mask = passing([Filter("image", "is", wanted)], columns, len(rows))
            for row in rows[mask].tolist():
                return row, unit_rows(self.store.embeddings([row]))[0]
        return None

    def _like(self, image: Any) -> np.ndarray:
        """The embedding of a file that the collection has no image of."""
        if self.model is None or not os.path.isfile(image):
            raise DataError(
                f"{shown(str(image))}: found no such image in the collection, and no such file"
            )
        return self._image(image)

    def _image(self, image: ImageSource) -> np.ndarray:
        """The embedding of an image, read as the collection's were."""
        model, manifest = self._model(), getattr(self.store, "manifest", None)
        decoding = USUAL_DECODING if manifest is None else manifest.decoding
        if manifest is not None and manifest.old_decoding:
            logger.warning(
                "how this image and the collection's are read: %s", manifest.old_decoding
            )
        image_13RR = model.preprocess_image(image, decoding)
        found: np.ndarray = unit_rows(model.encode_image(image_13RR))[0]
        return found

    def _model(self) -> Model:
        if self.model is None:
            raise ConfigError(
                "found no model to embed the query with, expected one: ImageSearch.open(place, "
                "clip.load(...))"
            )
        return self.model
