"""The part of a loaded model that says why it answers as it does.

Axes: M texts, G places along a side, L tokens, E embedding.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from nnclip.embeddings import unit
from nnclip.explain import DEFAULT, Subject, explain, explain_text, segment, viewed
from nnclip.image import open_image
from nnclip.towers import Towers
from nnclip.weights.model import ModelWeights

SHOWN = 448  # pixels
AnImage = str | Path | BytesIO | Image.Image


class Explaining:
    """What a `CLIP` can explain; see there."""

    _weights: ModelWeights
    _towers: Towers

    # methods of the class that this is a part of
    encode_image: Callable[[np.ndarray], np.ndarray]
    encode_text: Callable[[np.ndarray], np.ndarray]
    preprocess: Callable[[Image.Image], np.ndarray]
    tokenize: Callable[..., np.ndarray]

    def explain(
        self,
        image: AnImage,
        texts: str | Sequence[str],
        method: str | None = None,
        resolution: int | None = None,
    ) -> np.ndarray:
        """Where in an image each text is found.

        Args:
            image: an image, or its file.
            texts: one or several, M.
            method: "maskclip", "sclip", "clearclip", "relevance" or "grad-cam", see
                `nnclip.explain.METHODS`; None for the one that points best, "maskclip".
            resolution: pixels along a side that the model sees; None for its own, or what gives a
                map of at least 4 x 4.

        Returns: (M, G, G) float32 over the square that the model sees of the image. Of "relevance"
            and "grad-cam" from 0 on, of the others cosines.

        Raises:
            DataError: an image or text that cannot be read.
            ConfigError: no such method or resolution, one that this tower cannot have, or no
                OpenVINO.
        """
        text_TE = unit(self.encode_text(self.tokenize(texts)))
        return self.explain_embeddings(image, text_TE, method, resolution)

    def explain_embeddings(
        self,
        image: AnImage,
        text_TE: np.ndarray,
        method: str | None = None,
        resolution: int | None = None,
    ) -> np.ndarray:
        """As `explain`, of texts whose embeddings (M, E), of unit length, are there already."""
        opened = image if isinstance(image, Image.Image) else open_image(image)
        return explain(self._subject(), opened, text_TE, method or DEFAULT, resolution)

    def explain_text(self, image: AnImage, text: str) -> np.ndarray:
        """How much each token of a text has to do with its score for an image, by "relevance".

        Returns: (L,) float32 from 0 on, for the tokens of `tokenize(text)` up to the last.

        Raises:
            DataError: an image or text that cannot be read.
            ConfigError: no OpenVINO.
        """
        opened = image if isinstance(image, Image.Image) else open_image(image)
        image_1E = unit(self.encode_image(self.preprocess(opened)[None]))
        return explain_text(self._subject(), self.tokenize(text), image_1E)

    def segment(
        self,
        image: AnImage,
        texts: Sequence[str],
        method: str | None = None,
        resolution: int | None = None,
        refine: bool = True,
    ) -> np.ndarray:
        """Which text each pixel of an image shows best, roughly: places are large.

        Args:
            image: an image, or its file; a long one is looked at in overlapping squares.
            texts: M, at least 2; name what is behind the objects, too.
            method: "maskclip", "sclip" or "clearclip"; None for "maskclip".
            resolution: pixels along a side that the model sees of a square; None for one and
                a half times its own.
            refine: whether borders follow those of colours.

        Returns: (H, W) int32 of 0 to M - 1, for the image's own size; `nnclip.explain.boxes` finds
            the regions in it.

        Raises:
            DataError: an image or text that cannot be read, an image much longer than wide.
            ConfigError: fewer than two texts, another method, a resolution that the tower cannot
                have, or no OpenVINO.
        """
        text_TE = unit(self.encode_text(self.tokenize(texts)))
        return self.segment_embeddings(image, text_TE, method, resolution, refine)

    def segment_embeddings(
        self,
        image: AnImage,
        text_TE: np.ndarray,
        method: str | None = None,
        resolution: int | None = None,
        refine: bool = True,
    ) -> np.ndarray:
        """As `segment`, of texts whose embeddings (M, E), of unit length, are there already."""
        opened = image if isinstance(image, Image.Image) else open_image(image)
        return segment(self._subject(), opened, text_TE, method or DEFAULT, resolution, refine)

    def view(self, image: Image.Image, resolution: int = SHOWN) -> Image.Image:
        """The square of an image that the model sees, in colours, `resolution` pixels wide."""
        return viewed(self._subject(), image, resolution)

    def _forget_explained(self) -> None:
        """Let explanations count the parameters' present values."""
        self._explained: Subject | None = None

    def _subject(self) -> Subject:
        """What explanations ask, made when first needed."""
        if self._explained is None:
            self._explained = Subject(self._weights, self._towers.float_precision)
        return self._explained
