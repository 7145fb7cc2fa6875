"""Images to arrays: OpenAI's preprocessing, and the random crop of training.

Array axes: N batch, 3 the channels red, green, blue, R the resolution.
"""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from PIL import Image

from nnclip.errors import ConfigError, DataError
from nnclip.image.opening import MAX_PIXELS, ImageSource, open_image

Triple: TypeAlias = tuple[float, float, float]
Range: TypeAlias = tuple[float, float]

CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)
_CROP_ATTEMPTS = 10  # as torchvision's RandomResizedCrop


def preprocess(
    image: Image.Image, resolution: int = 224, mean: Triple = CLIP_MEAN, std: Triple = CLIP_STD
) -> np.ndarray:
    """The input of an image tower, equal to OpenAI's torchvision pipeline bit for bit.

    Bicubic, so that the shorter side has R pixels; the central square; RGB after the crop, with
    transparency dropped, as OpenAI does; channels normalised. Palette and 1-bit pictures are
    resized without interpolation, because Pillow does so.

    Args:
        image: any mode that Pillow converts to RGB; EXIF rotation is ignored (see `open_image`).
        resolution: R, from the model.
        mean, std: per channel, for values 0..1.

    Returns:
        (3, R, R) float32, about -1.8..2.2 with CLIP's mean and std.

    Raises:
        DataError: not a picture, or so narrow that it would not fit into memory when resized.
        ConfigError: `resolution` is below 1.
    """
    return normalise(central_square(image, resolution), mean, std)


def preprocess_batch(
    sources: Sequence[ImageSource],
    resolution: int = 224,
    mean: Triple = CLIP_MEAN,
    std: Triple = CLIP_STD,
    threads: int | None = None,
) -> np.ndarray:
    """`open_image` and `preprocess` for many pictures at once, on several threads.

    Args:
        sources: one picture or more, each as for `open_image`.
        resolution, mean, std: as for `preprocess`.
        threads: as many as there are cores if None; Pillow computes without Python's lock.

    Returns:
        (N, 3, R, R) float32.

    Raises:
        DataError: no pictures, or the first picture in order that is not usable.
    """
    _check_resolution(resolution)
    if not len(sources):
        raise DataError("the list of pictures is empty, expected one or more")
    x_N3RR = np.empty((len(sources), 3, resolution, resolution), np.float32)

    def fill(index: int) -> None:
        image = open_image(sources[index])
        normalise(central_square(image, resolution), mean, std, out=x_N3RR[index])

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for _ in pool.map(fill, range(len(sources))):
            pass
    return x_N3RR


def normalise(
    image: Image.Image,
    mean: Triple = CLIP_MEAN,
    std: Triple = CLIP_STD,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """(value / 255 - mean) / std per channel, read from a table: it equals torch's to the bit.

    Args:
        image: a picture, converted to RGB if it is not; its size is kept.
        mean, std: per channel, for values 0..1.
        out: (3, H, W) float32 to write into.

    Returns:
        (3, H, W) float32.
    """
    if out is None:
        out = np.empty((3, image.height, image.width), np.float32)
    table = normalised_values(tuple(mean), tuple(std))
    for values, channel, plane in zip(table, image.convert("RGB").split(), out, strict=True):
        np.take(values, np.asarray(channel), out=plane, mode="clip")
    return out


def random_resized_crop(
    image: Image.Image,
    resolution: int,
    rng: np.random.Generator,
    scale: Range = (0.9, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
) -> Image.Image:
    """The augmentation of CLIP's training: a random part of the picture, resized to a square.

    Args:
        image: any mode that Pillow converts to RGB.
        resolution: R.
        rng: the only source of chance: the same state gives the same crop.
        scale: the least and the greatest share of the picture's area.
        ratio: the least and the greatest width / height of the part.

    Returns:
        An RGB picture of R x R pixels, for `normalise`.

    Source: Radford et al. 2021, section 2.4; the ranges are open_clip's and torchvision's.
    """
    _check_resolution(resolution)
    _check_image(image)
    box = random_crop_box(image.size, rng, scale, ratio)
    part = image.crop(box).resize((resolution, resolution), Image.Resampling.BICUBIC)
    return part.convert("RGB")


def random_crop_box(
    size: tuple[int, int], rng: np.random.Generator, scale: Range, ratio: Range
) -> tuple[int, int, int, int]:
    """The part that `random_resized_crop` takes: left, top, right, bottom in pixels.

    Ten tries, as torchvision; then the largest central part whose ratio is allowed.
    """
    width, height = size
    for _ in range(_CROP_ATTEMPTS):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w = max(1, min(width, round(height * aspect)))
    h = max(1, min(height, round(width / aspect)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def central_square(image: Image.Image, resolution: int) -> Image.Image:
    """(R, R) pixels in the picture's own mode: torchvision's Resize(R) and CenterCrop(R)."""
    _check_resolution(resolution)
    _check_image(image)
    width, height = image.size
    short = min(width, height)
    resized = resolution * width // short, resolution * height // short
    if resized[0] * resized[1] > MAX_PIXELS:
        raise DataError(
            f"a picture of {width} x {height} pixels would have {resized[0]} x {resized[1]} when "
            f"resized, expected at most {MAX_PIXELS} in all: crop it first"
        )
    left, top = (round((side - resolution) / 2) for side in resized)
    box = left, top, left + resolution, top + resolution
    return image.resize(resized, Image.Resampling.BICUBIC).crop(box)


def _check_resolution(resolution: int) -> None:
    if resolution < 1:
        raise ConfigError(f"resolution is {resolution}, expected 1 or more")


def _check_image(image: Image.Image) -> None:
    if not isinstance(image, Image.Image):
        raise DataError(f"a picture is {type(image).__name__}, expected PIL.Image: see open_image")
    if 0 in image.size:
        raise DataError(f"a picture has {image.width} x {image.height} pixels, expected some")


@lru_cache(maxsize=8)
def normalised_values(mean: Triple, std: Triple) -> np.ndarray:
    """(3, 256) float32: what each of the 256 values of a channel becomes."""
    values = np.arange(256, dtype=np.float32) / np.float32(255)
    mean_31, std_31 = (np.array(triple, np.float32).reshape(3, 1) for triple in (mean, std))
    return (values - mean_31) / std_31
