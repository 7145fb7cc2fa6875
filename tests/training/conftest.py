"""Captioned pictures on disk, small enough to be decoded by the hundred."""

import colorsys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COUNT = 40


def draw(path: Path, number: int, size: tuple[int, int] = (40, 32)) -> None:
    """A picture that no other number gives: a colour and a bar."""
    red, green, blue = (
        round(255 * c) for c in colorsys.hsv_to_rgb(number / COUNT, 1, 0.4 + 0.6 * (number % 2))
    )
    pixels = np.full((size[1], size[0], 3), (red, green, blue), np.uint8)
    pixels[:, number % size[0]] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def caption(number: int) -> str:
    return f"picture number {number} of {'many' if number % 3 else 'a few'}"


@pytest.fixture(scope="session")
def pairs_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tab-separated table of 40 pairs, header `filepath\ttitle`; paths are relative to it."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = ["filepath\ttitle"]
    for number in range(COUNT):
        draw(folder / "images" / f"{number}.png", number)
        lines.append(f"images/{number}.png\t{caption(number)}")
    table = folder / "pairs.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table
