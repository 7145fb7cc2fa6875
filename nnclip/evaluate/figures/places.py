"""Figures of where in an image texts are found."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from nnclip.evaluate.figures.style import head, label, new_figure, show, styled

ACROSS = 4  # maps in a row, the image itself among them
COLOURS = "viridis"  # light and dark differ, too: it reads without colours
OPAQUE = 0.75  # where a map is highest


def places_figure(image: Image.Image, maps: np.ndarray, texts: Sequence[str], title: str) -> Figure:
    """An image, and the same under a map for each text; each map has its own scale.

    Args:
        image: the square that the model sees.
        maps: (T, G, G).
        texts: T.
        title: over all.
    """
    count = len(texts) + 1
    columns, rows = min(count, ACROSS), -(-count // ACROSS)
    with styled():
        figure = new_figure(3.2 * columns, 3.5 * rows + 0.5)
        head(figure, title)
        for number in range(count):
            axes = figure.add_subplot(rows, columns, number + 1)
            show(axes, image)
            if not number:
                axes.set_title("what the model sees")
                continue
            side = axes.get_images()[0].get_array().shape[0]  # type: ignore[union-attr]
            shown = _upright(maps[number - 1], side)
            axes.imshow(shown, cmap=COLOURS, alpha=OPAQUE * shown, vmin=0, vmax=1)
            axes.set_title(label(texts[number - 1], 30))
    return figure


def _upright(map_GG: np.ndarray, side: int) -> np.ndarray:
    """A map as smooth as an image, 0 where it is lowest and 1 where it is highest."""
    low, high = float(map_GG.min()), float(map_GG.max())
    scaled = (map_GG - low) / (high - low) if high > low else np.zeros_like(map_GG)
    smooth = Image.fromarray(scaled.astype("f4")).resize((side, side), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth), 0, 1)
