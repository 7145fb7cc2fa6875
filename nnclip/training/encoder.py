"""The model in training as evaluators want it: images or texts in, embeddings out.

Axes: N images or texts, E embedding, L tokens, R resolution.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from nnclip.embeddings import unit
from nnclip.graph.beside import text_inputs
from nnclip.training.config import TrainConfig
from nnclip.training.model import Trainee
from nnclip.training.step import ContrastiveStep

MOST = 64  # images or texts at once


class Encoder:
    """Embeds by the parameters as they are when it is called.

    Attributes:
        batch: images or texts that are computed at once: always as many, so that one graph does.
        preprocess: how the model wants to see images.
    """

    def __init__(self, config: TrainConfig, step: ContrastiveStep, trainee: Trainee) -> None:
        """Take the model; a batch is as large as memory was made for."""
        self._step, self._tokenizer = step, trainee.tokenizer
        model = trainee.weights.config
        self.preprocess, self._text = model.image.preprocess, model.text
        self._context = config.context_length or model.text.context
        self.batch = min(config.micro_batch_size or config.batch_size, MOST)

    def images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """(N, E) float32, rows of unit length."""
        return self._embedded(images, self._pixels, "image")

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """(N, E) float32, rows of unit length; long texts are cut."""
        return self._embedded(texts, self._ids, "text")

    def _pixels(self, images: Sequence[Image.Image]) -> dict[str, np.ndarray]:
        return {"images": np.stack([self.preprocess(image) for image in images])}

    def _ids(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        ids_NL = self._tokenizer(list(texts), self._context, truncate=True)
        return text_inputs(ids_NL, self._text)

    def _embedded(self, items, inputs, side: str) -> np.ndarray:  # type: ignore[no-untyped-def]
        parts = []
        for at in range(0, len(items), self.batch):
            part = list(items[at : at + self.batch])
            full = part + part[-1:] * (self.batch - len(part))
            parts.append(self._step.of_inputs(inputs(full))[side][: len(part)])
        return unit(np.concatenate(parts))
