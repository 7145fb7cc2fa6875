"""What int8 chooses its scales on: typical images and texts, as the towers take them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nnclip.assets import asset, assets_dir
from nnclip.errors import DataError
from nnclip.graph.beside import text_inputs
from nnclip.graph.config import ClipConfig
from nnclip.image import open_image

CAPTIONS = "captions.txt"
BUNDLED_IMAGES = 32  # at most so many where no others are given


@dataclass(frozen=True)
class Calibration:
    """Calibration inputs of one model, made when they are asked for.

    Attributes:
        config: what the model is.
        tokenizer: texts, their length and whether to cut them -> ids; the model's own.
        images: a few dozen typical images, or (3, R, R) float arrays that `preprocess` made of
            them; None for those that come with nnclip.
        texts: the same for captions.
    """

    config: ClipConfig
    tokenizer: Callable[[Sequence[str], int, bool], np.ndarray]
    images: Sequence[Image.Image | np.ndarray] | None = None
    texts: Sequence[str] | None = None

    def __call__(self, side: str) -> dict[str, np.ndarray]:
        """The inputs of a side, "image" or "text", by name; DataError if they do not fit."""
        return self._image() if side == "image" else self._text()

    def _image(self) -> dict[str, np.ndarray]:
        images = self.images
        if images is None:
            paths = sorted((assets_dir() / "examples").glob("*.jpg"))[:BUNDLED_IMAGES]
            images = [open_image(path) for path in paths]
        preprocess = self.config.image.preprocess
        arrays = [p if isinstance(p, np.ndarray) else preprocess(p) for p in images]
        if not arrays:
            raise DataError("calibration: found no image, expected a few dozen typical ones")
        wanted = (3, preprocess.resolution, preprocess.resolution)
        for array in arrays:
            if array.shape != wanted:
                raise DataError(
                    f"a calibration image: found shape {array.shape}, expected {wanted}"
                )
        return {"images": np.stack(arrays)}

    def _text(self) -> dict[str, np.ndarray]:
        texts = self.texts
        if texts is None:
            texts = asset(CAPTIONS).read_text(encoding="utf-8").splitlines()
        if not texts:
            raise DataError("calibration_texts: found no text, expected a few dozen typical ones")
        tower = self.config.text
        return text_inputs(self.tokenizer(list(texts), tower.context, True), tower)
