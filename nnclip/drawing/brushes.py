"""Colours, and the strokes that backgrounds are painted with."""

import math
from collections.abc import Sequence
from random import Random

import numpy as np
from PIL import Image, ImageDraw

RGB = tuple[int, int, int]

# Hues that nobody would call by the name of a neighbour; `tint` varies them a little.
PALETTE: dict[str, RGB] = {
    "red": (222, 38, 44),
    "orange": (250, 136, 22),
    "yellow": (253, 217, 38),
    "green": (46, 164, 70),
    "blue": (34, 98, 216),
    "purple": (132, 54, 176),
    "pink": (252, 142, 190),
    "brown": (126, 78, 44),
    "black": (26, 26, 30),
    "white": (248, 248, 248),
    "grey": (146, 148, 152),
}
FAR = 75.0  # distance in RGB from every one of them, for a colour without a name
PASTELS: tuple[RGB, ...] = (
    (250, 208, 196), (255, 229, 180), (200, 230, 201), (187, 222, 251), (209, 196, 233),
    (248, 187, 208), (178, 235, 242), (240, 235, 216), (220, 220, 226),
)  # fmt: skip


def tint(random: Random, colour: str, by: float = 0.06) -> RGB:
    """A shade of one of COLOURS, lighter or darker by at most `by` of the range."""
    shift = random.uniform(-by, by) * (100 if colour == "white" else 255)
    red, green, blue = (round(min(255, max(0, part + shift))) for part in PALETTE[colour])
    return red, green, blue


def nameless(random: Random) -> RGB:
    """A colour that none of the names fits: teal, magenta, lime, olive and what lies between."""
    while True:
        colour = (random.randrange(256), random.randrange(256), random.randrange(256))
        if min(math.dist(colour, named) for named in PALETTE.values()) > FAR:
            return colour


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """`first` with `share` of `second`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def gradient(size: int, stops: Sequence[RGB], angle: float = 0.0) -> Image.Image:
    """Colours running from the top (angle 0) or any other side, evenly spaced."""
    line = np.linspace(-0.5, 0.5, 64, dtype=np.float32)  # smooth enough to be enlarged
    along = line[:, None] * math.cos(angle) + line[None, :] * math.sin(angle)
    along = (along / (abs(math.cos(angle)) + abs(math.sin(angle))) + 0.5) * (len(stops) - 1)
    at = np.arange(len(stops))
    channels = [np.interp(along, at, [stop[i] for stop in stops]) for i in range(3)]
    small = Image.fromarray(np.stack(channels, axis=-1).round().astype(np.uint8))
    return small.resize((size, size), Image.Resampling.BILINEAR)


def hills(picture: Image.Image, random: Random, horizon: float, colour: RGB, swell: float) -> None:
    """Paint rolling ground from about `horizon` (fraction from the top) to the bottom."""
    size = picture.width
    phase, waves = random.uniform(0, 6.28), random.uniform(0.6, 1.4)
    steps = [i / 24 for i in range(25)]
    crest = [(x, horizon + swell * math.sin(phase + waves * 6.28 * x)) for x in steps]
    outline = [(x * size, y * size) for x, y in crest]
    ImageDraw.Draw(picture).polygon([(0, size), *outline, (size, size)], fill=colour)


def spots(
    picture: Image.Image,
    random: Random,
    count: int,
    colour: RGB,
    radius: tuple[float, float],
    band: tuple[float, float] = (0, 1),
) -> None:
    """Paint discs of a radius drawn from `radius`, their centres within `band` of the height."""
    size, draw = picture.width, ImageDraw.Draw(picture)
    for _ in range(count):
        x, y = random.random() * size, random.uniform(*band) * size
        r = max(random.uniform(*radius) * size, 0.5)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def cloud(picture: Image.Image, random: Random, x: float, y: float, scale: float) -> None:
    """Paint one white cloud of overlapping discs about (x, y)."""
    size, draw = picture.width, ImageDraw.Draw(picture)
    for i in range(5):
        r = scale * (0.6 + 0.4 * math.sin(math.pi * (i + 0.5) / 5)) * random.uniform(0.8, 1.1)
        cx, cy = x + (i - 2) * scale * 0.75, y - r * 0.35
        box = ((cx - r) * size, (cy - r) * size, (cx + r) * size, (cy + r * 0.8) * size)
        draw.ellipse(box, fill=(255, 255, 255))
