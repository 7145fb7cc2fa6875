"""A domain that the bundled model has never seen: its drawn images as dots on a dark board."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from nnclip.cli import main as nnclip

CELL = 3  # pixels from dot to dot
DIM = 0.7  # of a colour, between its dots
SIZE = 72


def write_shapes(folder: Path, split: str, count: int, seed: int) -> Path:
    """Draw single coloured shapes with English captions; returns their table."""
    flags = ["--split", split, "--count", str(count), "--seed", str(seed), "--size", str(SIZE)]
    flags += ["--languages", "en", "--format", "png"]
    if split == "train":
        flags += ["--kinds", "shape=1", "--alike", "0"]
    if nnclip(["draw-pairs", str(folder), *flags]):
        raise SystemExit(f"draw-pairs {folder} failed")
    return folder / "pairs.csv"


def as_mosaics(table: Path) -> Path:
    """Replace the images of a table by their mosaics; returns the table."""
    for path in table.parent.rglob("*.png"):
        with Image.open(path) as image:
            mosaic(image).save(path)
    return table


def mosaic(image: Image.Image) -> Image.Image:
    """Each cell's mean colour as a round dot, darker around it."""
    count = SIZE // CELL
    cells = image.convert("RGB").resize((count, count), Image.Resampling.BOX)
    colours = np.asarray(cells, np.float32).repeat(CELL, 0).repeat(CELL, 1)
    middle = (CELL - 1) / 2
    y, x = np.indices((CELL, CELL)) - middle
    dot = np.tile(x * x + y * y <= middle * middle + 0.5, (count, count))
    light = np.where(dot, 1.0, DIM)[..., None]
    return Image.fromarray((colours * light).astype(np.uint8))
