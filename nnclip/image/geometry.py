"""Where the pixels of a prepared image come from: sizes, crops, and the crops of training.

torchvision, which open_clip and OpenAI call, and transformers agree in all but rounding; to be
equal to the bit, both are here. Sizes and boxes are (width, height) and left, top, right, bottom.
"""

import math
from typing import TypeAlias

import numpy as np

Size: TypeAlias = tuple[int, int]
Box: TypeAlias = tuple[int, int, int, int]
FloatBox: TypeAlias = tuple[float, float, float, float]
Range: TypeAlias = tuple[float, float]

_CROP_ATTEMPTS = 10  # as torchvision's RandomResizedCrop


def resized_size(size: Size, side: int, resize: str, pipeline: str) -> Size:
    """What an image of this size is resized to; a side may come out as 0.

    Args:
        size: of the image.
        side: what the shorter, the longer or each side becomes.
        resize: "shortest", "longest", "squash", or "none".
        pipeline: "torchvision" or "transformers".

    Source: torchvision's Resize, open_clip's ResizeKeepRatio, transformers' image_transforms.
    """
    width, height = size
    if resize == "none":
        return size
    if resize == "squash":
        return side, side
    if resize == "shortest":
        short = min(size)
        return side * width // short, side * height // short
    if pipeline == "transformers":
        scale = min(side / height, side / width)  # in floats: 49 * (7 / 49) may be below 7
        return int(width * scale), int(height * scale)
    ratio = max(size) / side
    return round(width / ratio), round(height / ratio)


def central_box(size: Size, side: int, pipeline: str) -> Box:
    """The central square of this side; where the image is smaller, the box lies partly outside."""
    left, top = (_margin(length, side, pipeline) for length in size)
    return left, top, left + side, top + side


def _margin(length: int, side: int, pipeline: str) -> int:
    if pipeline == "transformers":
        return (length - side) // 2
    if length < side:
        return -((side - length) // 2)
    return round((length - side) / 2)  # halves go to the even number


def random_crop_box(size: Size, rng: np.random.Generator, scale: Range, ratio: Range) -> Box:
    """A random part of an image, as CLIP is trained with.

    Ten tries, as torchvision; then the largest central part whose ratio is allowed.

    Args:
        size: of the image.
        rng: the only source of chance: the same state gives the same crop.
        scale: the least and the greatest share of the image's area.
        ratio: the least and the greatest width / height of the part.

    Source: torchvision's RandomResizedCrop.
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
