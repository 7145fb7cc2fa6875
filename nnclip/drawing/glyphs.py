"""Single objects as RGBA images: emoji out of Noto Color Emoji, and coloured shapes."""

import math
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from nnclip.drawing.brushes import RGB, mix, nameless, tint
from nnclip.errors import DataError

FONT = "NotoColorEmoji.ttf"
FONT_PLACES = (Path("/usr/share/fonts/truetype/noto"), Path("/usr/share/fonts/noto"))
FONT_SIZE = 109  # the only size that the font holds
PACKAGES = "apt-get install fonts-noto-color-emoji libfribidi0"
SUPERSAMPLING = 4


@lru_cache(maxsize=1)
def emoji_font() -> ImageFont.FreeTypeFont:
    """Noto Color Emoji, with the layout engine that joins sequences into one glyph.

    Raises:
        DataError: the font or the layout engine is not installed; names the Debian packages.
    """
    if not features.check("raqm"):
        raise DataError(
            "Pillow found no libfribidi and would draw wrong emoji: its Raqm layout was expected. "
            f"On Debian: {PACKAGES}"
        )
    found = [folder / FONT for folder in FONT_PLACES if (folder / FONT).exists()]
    try:
        font = str(found[0]) if found else FONT  # else where the system keeps its fonts
        return ImageFont.truetype(font, FONT_SIZE, layout_engine=ImageFont.Layout.RAQM)
    except OSError as error:
        raise DataError(f"no {FONT} on this machine ({error}). On Debian: {PACKAGES}") from error


@lru_cache(maxsize=2048)
def emoji_picture(glyph: str) -> Image.Image:
    """One emoji, cut to what is visible: RGBA, at most 136 x 128. Not to be written to.

    Raises:
        DataError: the font draws the sequence as several glyphs, so it is too old for it.
    """
    font = emoji_font()
    if font.getlength(glyph) != font.getlength("🐈"):
        raise DataError(
            f"{FONT} has no single glyph for {glyph!r}: Debian 12's version 2.042 or newer was "
            f"expected. On Debian: {PACKAGES}"
        )
    # Pillow blends text into a transparent ground with black edges; from its images on black,
    # B = a c, and on white, W = a c + 255 (1 - a), follow the true opacity a and colour c
    on_black, on_white = (_written(glyph, font, ground) for ground in ((0,) * 3, (255,) * 3))
    alpha = 255 - (on_white - on_black).mean(-1, keepdims=True)
    colour = on_black * 255 / np.maximum(alpha, 1)
    rgba = np.concatenate([colour, alpha], -1).clip(0, 255).round().astype(np.uint8)
    picture = Image.fromarray(rgba)
    return picture.crop(picture.getchannel("A").getbbox())


def _written(glyph: str, font: ImageFont.FreeTypeFont, ground: RGB) -> np.ndarray:
    """The emoji on a plain ground, (160, 160, 3) float32 in 0..255."""
    picture = Image.new("RGB", (160, 160), ground)
    ImageDraw.Draw(picture).text((8, 8), glyph, font=font, embedded_color=True, anchor="lt")
    return np.asarray(picture, dtype=np.float32)


@lru_cache(maxsize=4096)
def mean_colour(glyph: str) -> RGB:
    """The mean colour of an emoji where it is not transparent."""
    rgba = np.asarray(emoji_picture(glyph), dtype=np.float32).reshape(-1, 4)
    red, green, blue = (rgba[:, :3] * rgba[:, 3:]).sum(0) / max(rgba[:, 3].sum(), 1.0)
    return round(red), round(green), round(blue)


def _regular(corners: int, turn: float, inner: float = 1.0) -> list[tuple[float, float]]:
    """A regular polygon about (0.5, 0.5); every second corner at `inner` of the radius."""
    points = []
    for i in range(corners):
        angle, radius = turn + 2 * math.pi * i / corners, 0.5 * (inner if i % 2 else 1.0)
        points.append((0.5 + radius * math.sin(angle), 0.5 - radius * math.cos(angle)))
    return points


def _heart() -> list[tuple[float, float]]:
    points = []
    for i in range(60):
        t = 2 * math.pi * i / 60
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((0.5 + 16 * math.sin(t) ** 3 / 34, 0.46 - y / 34))
    return points


POLYGONS: dict[str, list[tuple[float, float]]] = {
    "square": [(0.08, 0.08), (0.92, 0.08), (0.92, 0.92), (0.08, 0.92)],
    "triangle": [(0.5, 0.06), (0.98, 0.9), (0.02, 0.9)],
    "star": _regular(10, 0.0, 0.42),
    "heart": _heart(),
    "diamond": [(0.5, 0.0), (0.86, 0.5), (0.5, 1.0), (0.14, 0.5)],
    "hexagon": _regular(6, math.pi / 6),
    "cross": [(0.34, 0.04), (0.66, 0.04), (0.66, 0.34), (0.96, 0.34), (0.96, 0.66), (0.66, 0.66),
              (0.66, 0.96), (0.34, 0.96), (0.34, 0.66), (0.04, 0.66), (0.04, 0.34),
              (0.34, 0.34)],
    "arrow": [(0.0, 0.36), (0.54, 0.36), (0.54, 0.12), (1.0, 0.5), (0.54, 0.88), (0.54, 0.64),
              (0.0, 0.64)],
}  # fmt: skip


@lru_cache(maxsize=256)
def shape_mask(shape: str, size: int) -> Image.Image:
    """The silhouette of one of SHAPES, `size` pixels square. Not to be written to."""
    large = size * SUPERSAMPLING
    mask = Image.new("L", (large, large))
    draw = ImageDraw.Draw(mask)
    if shape in POLYGONS:
        draw.polygon([(x * large, y * large) for x, y in POLYGONS[shape]], fill=255)
    else:
        draw.ellipse((0, 0, large - 1, large - 1), fill=255)
    if shape == "ring":
        draw.ellipse((0.25 * large, 0.25 * large, 0.75 * large, 0.75 * large), fill=0)
    if shape == "crescent":
        draw.ellipse((0.28 * large, -0.02 * large, 1.12 * large, 0.82 * large), fill=0)
    return mask.reduce(SUPERSAMPLING)


def _nameless_mask(random: Random, size: int) -> Image.Image:
    """The silhouette of a form that none of the names fits: a blot, or a crooked polygon."""
    if random.random() < 0.5:
        sides = random.randint(4, 9)
        turns = [2 * math.pi / sides * (i + random.uniform(-0.35, 0.35)) for i in range(sides)]
        corners = [(angle, random.uniform(0.35, 1.0)) for angle in turns]
    else:
        waves = [(k, random.uniform(0.05, 0.35), random.uniform(0, 6.28)) for k in range(2, 6)]
        turns = [2 * math.pi * i / 90 for i in range(90)]
        corners = [(t, 1.1 + sum(by * math.cos(k * t + at) for k, by, at in waves)) for t in turns]
    points = np.array([(r * math.cos(angle), r * math.sin(angle)) for angle, r in corners])
    points -= points.min(0)
    points += (points.max() - points.max(0)) / 2  # in the middle of a square
    points *= (size * SUPERSAMPLING - 1) / points.max()
    mask = Image.new("L", (size * SUPERSAMPLING, size * SUPERSAMPLING))
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in points], fill=255)
    return mask.reduce(SUPERSAMPLING)


def shape_picture(random: Random, colour: str, shape: str, size: int) -> tuple[Image.Image, RGB]:
    """A coloured shape, flat or softly lit from above: RGBA (`size`, `size`), and its colour.

    The colour "" is one without a name, the shape "" too: another one each time.
    """
    middle = tint(random, colour, 0.05) if colour else nameless(random)
    picture = Image.new("RGBA", (size, size), middle)
    if random.random() < 0.5:
        top = mix(middle, (255, 255, 255), 0.16)
        ramp = Image.linear_gradient("L").resize((size, size))
        picture = Image.composite(picture, Image.new("RGBA", (size, size), top), ramp)
    picture.putalpha(shape_mask(shape, size) if shape else _nameless_mask(random, size))
    return picture, middle
