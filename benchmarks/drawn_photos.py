"""Photos of a phone's size that nobody took: smooth shapes, texture and a sensor's noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (4032, 3024)  # 12 million pixels
QUALITY = 90  # with the noise below, some 3 to 5 MB, as phones write
NOISE = 5.0  # standard deviation, of 255
_TEXTURES = ((256, 10.0), (1024, 6.0))  # patches along the width, and how strong


class Drawer:
    """Draws photos; the same seed draws the same ones."""

    def __init__(self, size: tuple[int, int] = SIZE) -> None:
        """Draw what all photos share: it takes longest, and every photo shifts it."""
        self._size, rng = size, np.random.default_rng(0)
        fine = rng.normal(0, NOISE, (size[1], size[0], 1)).astype(np.float32)
        self._texture = fine + sum(self._field(rng, n, strength) for n, strength in _TEXTURES)

    def draw(self, seed: int) -> Image.Image:
        """A photo."""
        rng = np.random.default_rng(seed + 1)
        shapes = sum(self._field(rng, n, strength) for n, strength in ((4, 60.0), (16, 30.0)))
        shift = int(rng.integers(self._size[1])), int(rng.integers(self._size[0]))
        pixels = 128 + shapes + np.roll(self._texture, shift, (0, 1))
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))

    def write(self, folder: Path, count: int) -> list[Path]:
        """So many JPEGs in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"IMG_{number:04}.jpg" for number in range(count)]
        for number, path in enumerate(paths):
            self.draw(number).save(path, quality=QUALITY)
        return paths

    def _field(self, rng: np.random.Generator, patches: int, strength: float) -> np.ndarray:
        """(H, W, 3) float32: random colours, so many along the width, with smooth seams."""
        small = rng.normal(0, strength, (3, patches * 3 // 4 + 1, patches + 1)).astype(np.float32)
        bicubic = Image.Resampling.BICUBIC
        planes = [Image.fromarray(plane).resize(self._size, bicubic) for plane in small]
        return np.stack([np.asarray(plane) for plane in planes], -1)
