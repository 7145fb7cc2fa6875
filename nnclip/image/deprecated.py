"""What prepared images before there was `Preprocess`; these names go with the next release."""

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from nnclip.errors import DataError
from nnclip.image.checks import Triple
from nnclip.image.decoding import OPENAI
from nnclip.image.geometry import Range
from nnclip.image.opening import ImageSource, open_image
from nnclip.image.preprocess import CLIP_MEAN, CLIP_STD, Preprocess


def _warn(name: str, instead: str) -> None:
    warnings.warn(f"{name}: use {instead}", DeprecationWarning, stacklevel=3)


def preprocess(
    image: Image.Image, resolution: int = 224, mean: Triple = CLIP_MEAN, std: Triple = CLIP_STD
) -> np.ndarray:
    """(3, R, R) float32; `Preprocess` does it."""
    _warn("preprocess", "Preprocess(resolution, mean=mean, std=std)(image)")
    return Preprocess(resolution, mean=mean, std=std)(image)


def preprocess_batch(
    sources: Sequence[ImageSource],
    resolution: int = 224,
    mean: Triple = CLIP_MEAN,
    std: Triple = CLIP_STD,
    threads: int | None = None,
) -> np.ndarray:
    """(N, 3, R, R) float32 of many images, on several threads; DataError as for one."""
    _warn("preprocess_batch", "a Preprocess for each image")
    prepare = Preprocess(resolution, mean=mean, std=std)
    if not len(sources):
        raise DataError("the list of images is empty, expected one or more")
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        return np.stack(
            list(pool.map(lambda source: prepare(open_image(source, as_seen=False)), sources))
        )


def normalise(
    image: Image.Image,
    mean: Triple = CLIP_MEAN,
    std: Triple = CLIP_STD,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """(3, H, W) float32; `Preprocess.normalise_image` does it."""
    _warn("normalise", "Preprocess.normalise_image")
    return Preprocess(mean=mean, std=std).normalise_image(image, out)


def planes(content: bytes, resolution: int) -> np.ndarray:
    """(3, R, R) uint8; `Preprocess.planes` does it."""
    _warn("planes", "Preprocess.planes")
    return Preprocess(resolution).planes(content, OPENAI)


def normalise_planes(planes_N3RR: np.ndarray, mean: Triple, std: Triple) -> np.ndarray:
    """(N, 3, R, R) float32; `Preprocess.normalise` does it."""
    _warn("normalise_planes", "Preprocess.normalise")
    return Preprocess(mean=mean, std=std).normalise(planes_N3RR)


def random_resized_crop(
    image: Image.Image,
    resolution: int,
    rng: np.random.Generator,
    scale: Range = (0.9, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
) -> Image.Image:
    """R x R pixels; `Preprocess.random_crop` does it."""
    _warn("random_resized_crop", "Preprocess.random_crop")
    return Preprocess(resolution).random_crop(image, rng, scale, ratio)
