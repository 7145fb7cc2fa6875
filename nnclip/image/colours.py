"""Random changes of an image's colours, for training."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance


@dataclass(frozen=True)
class Colours:
    """How colours are changed by chance.

    Attributes:
        strength: brightness, contrast and saturation are multiplied by 1 - strength to 1 + strength
            each; hues are turned by up to a quarter of it, where 1 is the whole circle.
        share: of images that are changed so.
        gray: share of images that lose their colours.

    Source: torchvision's ColorJitter and RandomGrayscale, in open_clip's order; its usual values
    are a strength of 0.32 for a share of 0.8, and 0.2.
    """

    strength: float = 0.0
    share: float = 0.8
    gray: float = 0.0

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """The RGB image with other colours; the same for the same state of `rng`."""
        if self.strength and rng.uniform() < self.share:
            low, high = max(0.0, 1 - self.strength), 1 + self.strength
            factors = [*rng.uniform(low, high, 3), rng.uniform(-1, 1) * self.strength / 4]
            for number in rng.permutation(len(CHANGES)):
                image = CHANGES[number](image, float(factors[number]))
        if self.gray and rng.uniform() < self.gray:
            image = image.convert("L").convert("RGB")
        return image


def turned_hue(image: Image.Image, turn: float) -> Image.Image:
    """The RGB image with all hues turned by `turn` circles, -0.5 to 0.5."""
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue).astype(np.int32) + int(turn * 255)).astype(np.uint8)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


Change = Callable[[Image.Image, float], Image.Image]
CHANGES: tuple[Change, ...] = (
    lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    turned_hue,
)
