"""What a model makes of fixed inputs, and how far two models' answers are from each other.

Axes: N batch, R resolution, L tokens, D width, E embedding.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from nnclip.graph.config import ClipConfig
from nnclip.graph.towers import TextTower
from nnclip.image import Preprocess


@dataclass(frozen=True)
class Answers:
    """All that a model makes of images and texts, in float32.

    Attributes:
        hidden: "image" and "text" -> the output of each block, (N, L, D).
        features: "image" and "text" -> (N, E), not normalised.
        logits: (N, N), a row for each image.
        loss: the contrastive loss.
        gradients: published name -> its gradient.
    """

    hidden: dict[str, list[np.ndarray]]
    features: dict[str, np.ndarray]
    logits: np.ndarray
    loss: float
    gradients: dict[str, np.ndarray]


def inputs_of(config: ClipConfig, pairs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Fixed images (N, 3, R, R) float32 and token ids (N, L) int64 that end at varying places."""
    random = np.random.RandomState(seed)
    context, last = config.text.context, config.text.vocabulary - 1
    images_N3RR = noise(config.image.preprocess, pairs, random)
    ids_NL = random.randint(0, last - 1, (pairs, context))
    for row, end in enumerate(np.linspace(context - 1, context // 4, pairs).astype(int)):
        ids_NL[row, end], ids_NL[row, end + 1 :] = last, 0
    return images_N3RR, ids_NL


def noise(preprocess: Preprocess, count: int, random: np.random.RandomState) -> np.ndarray:
    """Fixed images (N, 3, R, R) float32 of normal noise; of different shapes if they keep them."""
    if preprocess.resize != "patches":
        shape = count, 3, preprocess.resolution, preprocess.resolution
        return random.randn(*shape).astype(np.float32)
    sizes = [(30 + 20 * i, 90) for i in range(count)]
    drawn = [random.randint(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    return np.stack([preprocess(Image.fromarray(one)) for one in drawn])


def relative_difference(found_NX: np.ndarray, expected_NX: np.ndarray) -> float:
    """The largest difference of any number, relative to the norm of its row (the last axis)."""
    norms_N1 = np.linalg.norm(expected_NX, axis=-1, keepdims=True)
    return float((np.abs(found_NX - expected_NX) / norms_N1).max())


def padded_ids(config: TextTower, texts: int, seed: int = 0) -> np.ndarray:
    """Fixed token ids (N, L) int64 of texts of different lengths; the first fills the context."""
    ids_NL = np.random.RandomState(seed).randint(0, config.vocabulary, (texts, config.context))
    ids_NL[ids_NL == config.pad] = (config.pad + 1) % config.vocabulary
    for row, length in enumerate(np.linspace(config.context, 2, texts).astype(int)):
        ids_NL[row, length:] = config.pad
        if "end" in config.beside:  # a text that has no end is none
            ids_NL[row, length - 1] = getattr(config, "eos", 0) or config.vocabulary - 1
    return ids_NL
