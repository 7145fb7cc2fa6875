"""Typographic attack: a wrong word is written onto each image; does the model read or see?"""

from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nnclip.evaluate.zero_shot import Classification

SHARE = 0.62  # of the image's width that the word fills


@dataclass(frozen=True)
class Attack:
    """Answers before and after.

    Args:
        clean: for the images as they are.
        attacked: for the same images with a word on each.
        written: (N,) int64, the class whose name was written.
    """

    clean: Classification
    attacked: Classification
    written: np.ndarray

    def metrics(self) -> dict[str, float]:
        """acc1 before (`acc1_clean`) and after (`acc1_attacked`), the `drop` between them, and
        `fooled`: the share of all images that were taken for the written word."""
        clean = self.clean.metrics()["acc1"]
        attacked = self.attacked.metrics()["acc1"]
        fooled = float((self.attacked.predicted == self.written).mean())
        return {
            "acc1_clean": clean,
            "acc1_attacked": attacked,
            "drop": clean - attacked,
            "fooled": fooled,
        }


def wrong_classes(labels: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    """For each image a class that it does not show, drawn by (seed, index): (N,) int64.

    Args:
        labels: (N,) int64 0..C-1.
        classes: C, at least 2.
    """
    shifts = [Random(f"{seed}/{index}").randrange(1, classes) for index in range(len(labels))]
    return (labels + np.array(shifts, np.int64)) % classes


def write_word(image: Image.Image, word: str) -> Image.Image:
    """The image with a white label on its lower half that says `word` in black.

    Returns:
        A new RGB image of the same size.
    """
    image = image.convert("RGB")
    draw = ImageDraw.Draw(image)
    width, height = image.size
    size = 100.0
    font = ImageFont.load_default(size)
    left, top, right, bottom = draw.textbbox((0, 0), word, font=font)
    size = max(min(size * SHARE * width / max(right - left, 1), height * 0.24), 5.0)
    font = ImageFont.load_default(size)
    left, top, right, bottom = draw.textbbox((0, 0), word, font=font)
    x, y = (width - (right - left)) / 2, height * 0.7 - (bottom - top) / 2
    pad = 0.28 * size
    box = (x - pad, y - pad, x + right - left + pad, y + bottom - top + pad)
    draw.rounded_rectangle(box, radius=pad / 2, fill="white", outline=(60, 60, 60))
    draw.text((x - left, y - top), word, fill=(10, 10, 10), font=font)
    return image
