"""A domain that the bundled model has never seen: charts and patterns, drawn in two colours."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE = 72  # pixels
INKS = {
    "red": (200, 30, 40), "blue": (30, 60, 190), "green": (20, 130, 60), "black": (20, 20, 20),
    "purple": (120, 40, 150), "brown": (120, 75, 30),
}  # fmt: skip
PAPERS = {
    "white": (250, 250, 250), "yellow": (250, 235, 150), "pink": (250, 205, 215),
    "grey": (215, 215, 215), "light blue": (200, 225, 250),
}  # fmt: skip
PHRASES = ("{} on {} paper", "a drawing of {}", "{}", "a chart: {} on {} paper", "we see {}")
Colour = tuple[int, int, int]
Draw = Callable[[ImageDraw.ImageDraw, np.random.Generator, Colour], None]


def _axes(draw: ImageDraw.ImageDraw, ink: Colour) -> None:
    draw.line([(10, 8), (10, 62), (66, 62)], fill=ink, width=2)


def _bars(draw: ImageDraw.ImageDraw, rng: np.random.Generator, ink: Colour) -> None:
    _axes(draw, ink)
    count = int(rng.integers(3, 7))
    wide = 50 / count
    for at, height in enumerate(rng.uniform(8, 50, count)):
        left = 14 + at * wide
        draw.rectangle([left, 62 - height, left + wide - 3, 61], fill=ink)


def _pie(draw: ImageDraw.ImageDraw, rng: np.random.Generator, ink: Colour) -> None:
    ends = np.sort(rng.uniform(0, 360, 4))
    for start, end in zip(ends, np.roll(ends, -1), strict=True):
        draw.pieslice([9, 9, 63, 63], start, end, outline=ink, width=2)
    draw.pieslice([9, 9, 63, 63], ends[0], ends[1], fill=ink)


def _curve(draw: ImageDraw.ImageDraw, rng: np.random.Generator, ink: Colour) -> None:
    _axes(draw, ink)
    heights = np.clip(np.cumsum(rng.normal(1, 9, 9)) + 35, 10, 58)
    draw.line([(14 + 6 * i, 72 - h) for i, h in enumerate(heights)], fill=ink, width=2)


def _dots(draw: ImageDraw.ImageDraw, rng: np.random.Generator, ink: Colour) -> None:
    _axes(draw, ink)
    for x, y in rng.uniform(14, 58, (25, 2)):
        draw.ellipse([x, y, x + 3, y + 3], fill=ink)


def _spiral(draw: ImageDraw.ImageDraw, rng: np.random.Generator, ink: Colour) -> None:
    turn = rng.uniform(0, 6.3)
    angles = np.linspace(0, rng.uniform(14, 24), 160)
    points = [(36 + 28 * t / angles[-1] * math.cos(t + turn),
               36 + 28 * t / angles[-1] * math.sin(t + turn)) for t in angles]  # fmt: skip
    draw.line(points, fill=ink, width=2)


def _board(draw: ImageDraw.ImageDraw, rng: np.random.Generator, ink: Colour) -> None:
    side = int(rng.integers(7, 13))
    for row in range(0, SIZE, side):
        for column in range(row // side % 2 * side, SIZE, 2 * side):
            draw.rectangle([column, row, column + side - 1, row + side - 1], fill=ink)


def _target(draw: ImageDraw.ImageDraw, rng: np.random.Generator, ink: Colour) -> None:
    x, y = rng.uniform(30, 42, 2)
    for radius in range(int(rng.integers(3, 6)), 32, 6):
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], outline=ink, width=2)


def _wave(draw: ImageDraw.ImageDraw, rng: np.random.Generator, ink: Colour) -> None:
    tall, often = rng.uniform(5, 10), rng.uniform(0.25, 0.5)
    for base in range(12, 66, 16):
        points = [(x, base + tall * math.sin(often * x)) for x in range(SIZE)]
        draw.line(points, fill=ink, width=2)


def _tree(draw: ImageDraw.ImageDraw, rng: np.random.Generator, ink: Colour) -> None:
    levels: list[list[float]] = [[36.0]]
    for count in (2, int(rng.integers(3, 6))):
        levels.append([SIZE * (i + 0.5) / count for i in range(count)])
    for depth, level in enumerate(levels):
        for i, x in enumerate(level):
            if depth:
                above = levels[depth - 1]
                draw.line([x, 12 + 24 * depth, above[i * len(above) // len(level)],
                           24 * depth - 12], fill=ink, width=1)  # fmt: skip
            draw.rectangle([x - 5, 7 + 24 * depth, x + 5, 17 + 24 * depth], fill=ink)


def _bricks(draw: ImageDraw.ImageDraw, rng: np.random.Generator, ink: Colour) -> None:
    tall, wide = int(rng.integers(8, 13)), int(rng.integers(16, 25))
    for row, y in enumerate(range(0, SIZE, tall)):
        draw.line([0, y, SIZE, y], fill=ink, width=1)
        for x in range(row % 2 * wide // 2, SIZE, wide):
            draw.line([x, y, x, y + tall], fill=ink, width=1)


KINDS: dict[str, Draw] = {
    "bar chart": _bars, "pie chart": _pie, "line chart": _curve, "scatter plot": _dots,
    "spiral": _spiral, "checkerboard": _board, "target": _target, "wave pattern": _wave,
    "tree diagram": _tree, "brick wall": _bricks,
}  # fmt: skip


def write_charts(folder: Path, count: int, seed: int) -> Path:
    """Write images and a table with columns `filepath`, `title`, `label`; returns the table."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with open(folder / "pairs.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["filepath", "title", "label"])
        for number in range(count):
            kind = list(KINDS)[number % len(KINDS)]
            ink, paper = rng.choice(list(INKS)), rng.choice(list(PAPERS))
            image = Image.new("RGB", (SIZE, SIZE), PAPERS[paper])
            KINDS[kind](ImageDraw.Draw(image), rng, INKS[ink])
            noisy = np.asarray(image, np.float32) + rng.normal(0, 6, (SIZE, SIZE, 1))
            name = f"images/{number:05}.png"
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / name)
            told = rng.choice(PHRASES).format(f"a {ink} {kind}", paper)
            table.writerow([name, told, kind])
    return folder / "pairs.csv"
