"""What stands behind: eleven colours, three patterns and twelve scenes, painted as flat art.

Every painter takes a `random.Random` and a size and gives an RGB image of that size. Coordinates
are fractions of the size, so that one seed gives the same scene at 64 and at 512 pixels.
"""

import math
from collections.abc import Callable
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from nnclip.drawing.brushes import PALETTE, PASTELS, RGB, cloud, gradient, hills, mix, spots, tint
from nnclip.drawing.catalogue import COLOURS
from nnclip.drawing.language import PATTERNS, SCENES

Painter = Callable[[Random, int], Image.Image]


def plain(colour: str) -> Painter:
    """One colour: flat, or running softly into a shade of itself."""

    def paint(random: Random, size: int) -> Image.Image:
        first = tint(random, colour)
        if random.random() < 0.4:
            return Image.new("RGB", (size, size), first)
        light = mix(first, (255, 255, 255) if colour != "white" else (226, 226, 230), 0.18)
        return gradient(size, (light, first), random.uniform(-0.8, 0.8))

    return paint


def _two_tones(random: Random) -> tuple[RGB, RGB]:
    first = random.choice(PASTELS)
    strong = PALETTE[random.choice(COLOURS)]
    return first, mix(first, strong, random.uniform(0.35, 0.6))


def stripes(random: Random, size: int) -> Image.Image:
    """Slanted or upright bands of two colours."""
    light, dark = _two_tones(random)
    angle, count = random.choice((0.0, 0.785, -0.785, 1.571)), random.randint(5, 9)
    line = np.linspace(0, 1, size, dtype=np.float32)
    along = line[:, None] * math.sin(angle) + line[None, :] * math.cos(angle)
    band = (np.floor(along * count) % 2).astype(bool)[..., None]
    return Image.fromarray(np.where(band, dark, light).astype(np.uint8))


def dots(random: Random, size: int) -> Image.Image:
    """Polka dots in a staggered grid."""
    ground, dot = _two_tones(random)
    if random.random() < 0.5:
        ground, dot = dot, ground
    picture = Image.new("RGB", (size, size), ground)
    draw, count = ImageDraw.Draw(picture), random.randint(5, 8)
    step = size / count
    radius = step * random.uniform(0.24, 0.34)
    for row in range(count * 2):
        for column in range(count + 1):
            x, y = (column + row % 2 / 2) * step, (row + 0.5) * step / 1.4
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=dot)
    return picture


def checks(random: Random, size: int) -> Image.Image:
    """A chessboard."""
    light, dark = _two_tones(random)
    count = random.randint(5, 8)
    line = np.arange(size) * count // size
    board = ((line[:, None] + line[None, :]) % 2).astype(bool)[..., None]
    return Image.fromarray(np.where(board, dark, light).astype(np.uint8))


def beach(random: Random, size: int) -> Image.Image:
    """Sky, a band of sea, a foam line and sand."""
    picture = gradient(size, ((120, 200, 245), (214, 240, 252)))
    draw, sea = ImageDraw.Draw(picture), random.uniform(0.3, 0.42)
    water = mix((22, 140, 190), (40, 190, 200), random.random())
    draw.rectangle((0, sea * size, size, size), fill=water)
    shore = random.uniform(0.56, 0.66)
    hills(picture, random, shore - 0.02, (244, 252, 252), 0.02)
    hills(picture, random, shore + 0.02, (240, 212, 150), 0.02)
    spots(picture, random, 40, (222, 188, 122), (0.003, 0.007), (shore + 0.08, 1))
    return picture


def meadow(random: Random, size: int) -> Image.Image:
    """Sky over green hills with flowers."""
    picture = gradient(size, ((130, 204, 250), (226, 244, 255)))
    cloud(picture, random, random.random(), random.uniform(0.12, 0.24), random.uniform(0.05, 0.09))
    hills(picture, random, random.uniform(0.42, 0.5), (140, 200, 90), 0.05)
    hills(picture, random, random.uniform(0.58, 0.66), (104, 178, 66), 0.04)
    for colour in ((255, 255, 255), (255, 226, 90), (255, 120, 150)):
        spots(picture, random, 9, colour, (0.008, 0.014), (0.7, 1))
    return picture


def snow(random: Random, size: int) -> Image.Image:
    """A pale grey-blue sky, white ground and falling flakes."""
    picture = gradient(size, ((132, 158, 190), (196, 212, 230)))
    hills(picture, random, random.uniform(0.54, 0.62), (226, 236, 246), 0.05)
    hills(picture, random, random.uniform(0.68, 0.76), (248, 251, 255), 0.03)
    spots(picture, random, 46, (255, 255, 255), (0.006, 0.015))
    return picture


def night(random: Random, size: int) -> Image.Image:
    """A dark blue sky full of stars."""
    picture = gradient(size, ((8, 10, 40), (24, 30, 84), (58, 44, 110)))
    spots(picture, random, 60, (210, 214, 250), (0.002, 0.006))
    spots(picture, random, 14, (255, 252, 224), (0.008, 0.012))
    return picture


def underwater(random: Random, size: int) -> Image.Image:
    """Blue-green depth with rays of light, bubbles and weed."""
    picture = gradient(size, ((70, 206, 226), (14, 122, 178), (8, 62, 118)))
    rays = Image.new("L", (size, size))
    draw = ImageDraw.Draw(rays)
    for _ in range(4):
        x, width = random.random() * size, random.uniform(0.05, 0.12) * size
        draw.polygon([(x, 0), (x + width, 0), (x + 2 * width, size), (x - width, size)], fill=34)
    picture.paste((230, 255, 255), mask=rays.filter(ImageFilter.GaussianBlur(size * 0.012)))
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y, r = random.random() * size, random.random() * size, random.uniform(0.01, 0.03) * size
        box = (x - r, y - r, x + r, y + r)
        draw.ellipse(box, outline=(206, 244, 255), width=max(1, round(size * 0.007)))
    for _ in range(7):
        x, height = random.random(), random.uniform(0.14, 0.34)
        sway = random.uniform(0, 6.28)
        stem = [(x + 0.018 * math.sin(sway + t), 1 - height * t / 5) for t in range(6)]
        points = [(px * size, py * size) for px, py in stem]
        draw.line(points, fill=(20, 130, 96), width=max(1, round(size * 0.03)), joint="curve")
    return picture


def desert(random: Random, size: int) -> Image.Image:
    """A hot sky over orange dunes."""
    picture = gradient(size, ((250, 206, 130), (254, 236, 196)))
    x, y, r = random.uniform(0.1, 0.9) * size, 0.17 * size, 0.07 * size
    ImageDraw.Draw(picture).ellipse((x - r, y - r, x + r, y + r), fill=(255, 250, 224))
    for horizon, colour in ((0.46, (226, 164, 92)), (0.62, (212, 140, 66)), (0.78, (196, 120, 50))):
        hills(picture, random, horizon + random.uniform(-0.03, 0.03), colour, 0.06)
    return picture


def forest(random: Random, size: int) -> Image.Image:
    """Rows of dark fir trees in green light."""
    picture = gradient(size, ((196, 224, 190), (120, 164, 116)))
    draw = ImageDraw.Draw(picture)
    rows = ((0.74, (86, 140, 96), 0.34), (0.86, (46, 104, 64), 0.42), (1.0, (22, 72, 42), 0.46))
    for foot, colour, height in rows:
        for i in range(9):
            x, tall = (i + random.random()) / 8.5, height * random.uniform(0.8, 1.25)
            for layer in range(3):
                top, half = foot - tall * (1 - layer * 0.24), 0.035 + 0.02 * layer
                low = top + tall * 0.46
                tree = [(x, top), (x - half, low), (x + half, low)]
                draw.polygon([(px * size, py * size) for px, py in tree], fill=colour)
        draw.rectangle((0, (foot - 0.1) * size, size, size), fill=colour)
    return picture


def city(random: Random, size: int) -> Image.Image:
    """A skyline of houses with lit windows above a street."""
    picture = gradient(size, ((150, 190, 224), (232, 226, 214)))
    draw, x = ImageDraw.Draw(picture), -0.05
    while x < 1:
        width, top = random.uniform(0.12, 0.2), random.uniform(0.16, 0.5)
        shade = mix((92, 104, 130), (150, 130, 128), random.random())
        draw.rectangle((x * size, top * size, (x + width) * size, size), fill=shade)
        for row in range(12):
            for column in range(3):
                wx, wy = x + width * (0.16 + column * 0.26), top + 0.04 + row * 0.065
                lit = (255, 230, 150) if random.random() < 0.6 else (70, 80, 104)
                box = (wx * size, wy * size, (wx + width * 0.16) * size, (wy + 0.034) * size)
                draw.rectangle(box, fill=lit)
        x += width + 0.008
    draw.rectangle((0, 0.84 * size, size, size), fill=(74, 76, 84))
    for i in range(5):
        dash = ((i * 0.22 + 0.02) * size, 0.915 * size, (i * 0.22 + 0.13) * size, 0.932 * size)
        draw.rectangle(dash, fill=(240, 240, 230))
    return picture


def sunset(random: Random, size: int) -> Image.Image:
    """A burning sky, the sun's disc at the horizon and its path over dark water."""
    picture = gradient(size, ((96, 52, 128), (226, 84, 96), (255, 166, 72), (255, 214, 110)))
    draw, x, horizon = ImageDraw.Draw(picture), random.uniform(0.25, 0.75), 0.7
    r = random.uniform(0.14, 0.19)
    box = ((x - r) * size, (horizon - r) * size, (x + r) * size, (horizon + r) * size)
    draw.ellipse(box, fill=(255, 244, 190))
    draw.rectangle((0, horizon * size, size, size), fill=(86, 42, 92))
    for i in range(6):
        y, half = horizon + 0.03 + i * 0.045, r * random.uniform(0.4, 1.0)
        path = ((x - half) * size, y * size, (x + half) * size, (y + 0.014) * size)
        draw.rectangle(path, fill=(255, 190, 110))
    return picture


def clouds(random: Random, size: int) -> Image.Image:
    """A bright sky full of white clouds."""
    picture = gradient(size, ((64, 156, 236), (172, 218, 250)))
    for row in range(4):
        for column in range(2):
            x = (column + random.uniform(0.1, 0.9)) / 2
            cloud(picture, random, x, (row + 0.6) / 4, random.uniform(0.06, 0.1))
    return picture


def table(random: Random, size: int) -> Image.Image:
    """Planks with grain, seen from above."""
    count = random.randint(4, 6)
    grain = np.random.default_rng(random.getrandbits(32)).normal(size=(count, 24))
    picture = Image.new("RGB", (size, size))
    draw = ImageDraw.Draw(picture)
    for plank in range(count):
        top, low = plank * size / count, (plank + 1) * size / count
        ground = mix((188, 128, 74), (158, 100, 54), random.random())
        draw.rectangle((0, top, size, low), fill=ground)
        for line, dark in enumerate(grain[plank]):
            y = top + (low - top) * (line + 0.5) / 24
            shade = mix(ground, (110, 64, 30), min(0.5, abs(float(dark)) * 0.18))
            draw.line((0, y, size, y + dark * 0.006 * size), fill=shade)
        draw.rectangle((0, low - max(1, size * 0.008), size, low), fill=(92, 52, 24))
    return picture


def bricks(random: Random, size: int) -> Image.Image:
    """A wall of red-brown bricks with light mortar."""
    picture = Image.new("RGB", (size, size), (214, 204, 192))
    draw, rows = ImageDraw.Draw(picture), random.randint(8, 10)
    high, wide, gap = size / rows, size * 2.3 / rows, max(2.0, size * 0.014)
    for row in range(rows + 1):
        for column in range(-1, int(size / wide) + 2):
            x, y = (column + row % 2 / 2) * wide, row * high
            shade = mix((172, 78, 60), (140, 56, 44), random.random())
            draw.rectangle((x, y, x + wide - gap, y + high - gap), fill=shade)
    return picture


_DRAWN = (stripes, dots, checks, beach, meadow, snow, night, underwater, desert, forest, city,
          sunset, clouds, table, bricks)  # fmt: skip
PAINTERS: dict[str, Painter] = {
    **{colour: plain(colour) for colour in COLOURS},
    **dict(zip((*PATTERNS, *SCENES), _DRAWN, strict=True)),
}
