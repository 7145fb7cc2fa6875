"""Figures of where in an image texts are found."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from nnclip.evaluate.figures.style import head, label, new_figure, show, styled
from nnclip.image.heat import heat

ACROSS = 4  # maps in a row, the image itself among them


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
            axes.imshow(heat(maps[number - 1], side))
            axes.set_title(label(texts[number - 1], 30))
    return figure
