"""How others render an emoji: plain grounds, any margin, and what a file suffers on its way.

The usual pictures have painted grounds, shadows and outlines, and are never damaged. A model that
sees nothing else takes a panda on plain white for a football. In a loose style the ground is one
colour of any kind, the object upright and as large as it likes, and one of EFFECTS happens to the
whole picture. One of them is never drawn for training.
"""

import math
from collections.abc import Callable
from io import BytesIO
from random import Random

from PIL import Image, ImageEnhance, ImageFilter

from nnclip.drawing.brushes import RGB

HELD_OUT_STYLE = "pixels"
FAR = 90.0  # of a ground from an object's mean colour, in RGB
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_SMOOTH = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def ground(random: Random, colour: RGB) -> RGB:
    """One colour that is not an object's: white for every third picture, else any."""
    while True:
        dice = random.random()
        level = random.randrange(256)
        if dice < 0.35:
            found = _WHITE
        elif dice < 0.42:
            found = _BLACK
        elif dice < 0.55:
            found = level, level, level
        else:
            found = level, random.randrange(256), random.randrange(256)
        if math.dist(found, colour) > FAR:
            return found


def _plain(picture: Image.Image, random: Random) -> Image.Image:
    return picture


def _small(picture: Image.Image, random: Random) -> Image.Image:
    """As enlarged from a small one."""
    side = max(round(picture.width * random.uniform(0.3, 0.75)), 16)
    less = picture.resize((side, side), random.choice((*_SMOOTH, Image.Resampling.BOX)))
    return less.resize(picture.size, random.choice(_SMOOTH))


def _compressed(picture: Image.Image, random: Random) -> Image.Image:
    file = BytesIO()
    quality, subsampling = random.randint(12, 60), random.choice((0, 1, 2))
    picture.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(file).convert("RGB")


def _blurred(picture: Image.Image, random: Random) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(picture.width * random.uniform(0.004, 0.02)))


def _sharpened(picture: Image.Image, random: Random) -> Image.Image:
    return picture.filter(ImageFilter.UnsharpMask(2, random.randint(80, 250), 0))


def _faded(picture: Image.Image, random: Random) -> Image.Image:
    """Lighter or darker, paler or more colourful."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(random.uniform(0.6, 1.35))
    return picture


def _pixels(picture: Image.Image, random: Random) -> Image.Image:
    """In squares of one colour."""
    side = max(round(picture.width * random.uniform(0.4, 0.6)), 16)
    less = picture.resize((side, side), Image.Resampling.BOX)
    return less.resize(picture.size, Image.Resampling.NEAREST)


EFFECTS: dict[str, Callable[[Image.Image, Random], Image.Image]] = {
    "plain": _plain,
    "small": _small,
    "compressed": _compressed,
    "blurred": _blurred,
    "sharpened": _sharpened,
    "faded": _faded,
    HELD_OUT_STYLE: _pixels,
}
TRAINED = tuple(name for name in EFFECTS if name != HELD_OUT_STYLE)
