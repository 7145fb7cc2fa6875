"""A model that remembers: the same text or image is computed once, and what several visitors ask
at the same time is computed together.

Axes: N images, M texts, E embedding.
"""

import logging
import os
import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from nnclip.assets import asset
from nnclip.clip import CLIP
from nnclip.embeddings import unit
from nnclip.errors import NnclipError
from nnclip.image import USUAL_DECODING, Decoding
from nnclip.service.batching import DynamicBatching, Observe, unobserved
from nnclip.service.images import ImageSource, open_checked
from nnclip.service.languages import languages_of
from nnclip.service.lru_cache import LRUCache
from nnclip.weights.known import BUNDLED

logger = logging.getLogger(__name__)

TEXTS_KEPT = 5_000  # 10 MB of 512 numbers
IMAGES_KEPT = 2_000
TRIALS = 5
OF_BUNDLED = "The bundled model knows drawn emoji and shapes only: of photographs it guesses."
WARM = (1, 10, 20, 40)  # words: texts of different lengths have graphs of their own


def _is_bundled(model: CLIP) -> bool:
    try:
        return os.path.samefile(model.path, asset(BUNDLED))
    except (OSError, NnclipError):  # there is none
        return False


class Places(NamedTuple):
    """Where in an image texts are found.

    Attributes:
        view: the square that the model sees of the image.
        maps: (M, G, G) float32 over it.
    """

    view: Image.Image
    maps: np.ndarray


class Embedder:
    """Embeddings of unit length by one model; for several threads.

    Attributes:
        name: what a visitor calls the model.
        model: it.
        languages: codes of those it was taught, if its file says so.
        remark: what whoever reads its answers should know; "" for most models.
    """

    def __init__(self, name: str, model: CLIP, observe: Observe = unobserved) -> None:
        """Embed by `model`; `observe` is told "image" or "text", rows and seconds of its calls."""
        self.name, self.model = name, model
        self.languages = languages_of(model.metadata)
        self.remark = OF_BUNDLED if _is_bundled(model) else ""
        self._texts: LRUCache[tuple[np.ndarray, int]] = LRUCache(TEXTS_KEPT)
        self._images: LRUCache[np.ndarray] = LRUCache(IMAGES_KEPT)
        self._observe = observe
        self._encode_text = DynamicBatching(model.encode_text, observe=partial(observe, "text"))
        self._encode_image = DynamicBatching(model.encode_image, observe=partial(observe, "image"))

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """(M, E) float32; DataError if a text is longer than the model reads."""
        return unit(np.stack([features for features, _ in self.text_features(texts)]))

    def text_features(
        self, texts: Sequence[str], truncate: bool = False
    ) -> list[tuple[np.ndarray, int]]:
        """(E,) float32 features, not of unit length, and the number of token ids of each text.

        Args:
            texts: M of them.
            truncate: cut texts that are longer than the model reads; otherwise DataError.
        """

        def compute(missing: list[int]) -> list[tuple[np.ndarray, int]]:
            ids_ML = self.model.tokenize([texts[index] for index in missing], truncate=truncate)
            pad = self.model.config.text.pad
            lengths = [int(np.flatnonzero(ids != pad)[-1]) + 1 for ids in ids_ML]
            return list(zip(self._encode_text(ids_ML), lengths, strict=True))

        return self._texts.get([(text, truncate) for text in texts], compute)

    def images(
        self, sources: Sequence[ImageSource], decoding: Decoding = USUAL_DECODING
    ) -> np.ndarray:
        """(N, E) float32; DataError if one is no image or too large."""
        return unit(self.image_features(sources, decoding))

    def image_features(
        self, sources: Sequence[ImageSource], decoding: Decoding = USUAL_DECODING
    ) -> np.ndarray:
        """As `images`, but not of unit length; `decoding` says how files are read."""

        def compute(missing: list[int]) -> np.ndarray:
            return self._features([sources[index] for index in missing], decoding)

        keys = [(source.key, decoding) for source in sources]
        return np.stack(self._images.get(keys, compute))

    def embed(self, sources: Sequence[ImageSource]) -> np.ndarray:
        """As `images`, but nothing is remembered."""
        return unit(self._features(sources))

    def places(self, source: ImageSource, texts: Sequence[str], side: int) -> Places:
        """Where in an image each text is found, see `CLIP.explain`.

        Args:
            source: the image.
            texts: M.
            side: pixels of the image that is shown.

        Raises:
            ConfigError: this model gives no maps.
            DataError: see `texts` and `images`.
        """
        opened = open_checked(source, self.model.config.image.preprocess)
        maps_MGG = self.model.explain_embeddings(opened, self.texts(texts))
        return Places(self.model.view(opened, side), maps_MGG)

    def answers(self) -> bool:
        """Whether the model embeds an image and a text now; neither is remembered."""
        size = self.model.config.image.resolution
        image_E = self._encode_image(np.zeros((1, 3, size, size), np.float32))[0]
        text_E = self._encode_text(self.model.tokenize(["a"]))[0]
        return bool(np.isfinite(image_E).all() and np.isfinite(text_E).all())

    def _features(
        self, sources: Sequence[ImageSource], decoding: Decoding = USUAL_DECODING
    ) -> np.ndarray:
        start = time.perf_counter()
        preprocess = self.model.config.image.preprocess
        opened = (open_checked(source, preprocess, decoding) for source in sources)
        images = np.stack([self.model.preprocess(image) for image in opened])
        self._observe("decode", len(images), time.perf_counter() - start)
        return self._encode_image(images)

    def pace(self, source: ImageSource) -> float:
        """Seconds that the model takes for an image: the best of a few."""
        opened = open_checked(source, self.model.config.image.preprocess)
        images = self.model.preprocess(opened)[None]
        taken = []
        for _ in range(TRIALS):
            start = time.perf_counter()
            self.model.encode_image(images)
            taken.append(time.perf_counter() - start)
        return min(taken)

    def warm(self) -> None:
        """Have everything compiled that a first question may need.

        What cannot be compiled is logged here, and told to whoever asks for it.
        """
        size = self.model.config.image.resolution
        try:
            self.model.encode_image(np.zeros((1, 3, size, size), np.float32))
            for words in WARM:
                self.model.encode_text(self.model.tokenize(["a " * words], truncate=True))
        except NnclipError as error:
            logger.warning("%s: %s", self.name, error)
