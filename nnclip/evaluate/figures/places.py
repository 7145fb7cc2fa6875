"""Figures of where in an image texts are found."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from nnclip.evaluate.figures.style import head, label, new_figure, show, styled
from nnclip.image.heat import heat

ACROSS = 4  # maps in a row, the image itself among them
COVER = 0.55  # of regions
LARGEST = 1024  # pixels of an image that is drawn whole


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


def regions_figure(
    image: Image.Image,
    labels_HW: np.ndarray,
    texts: Sequence[str],
    colours: Sequence[str],
    boxes: Sequence[Any],
    title: str,
) -> Figure:
    """An image, and the same under the colours of its regions, with boxes and a legend.

    Args:
        image: whole.
        labels_HW: (H, W), numbers of texts.
        texts: their names.
        colours: of the texts, taken again from the start where there are fewer.
        boxes: of `nnclip.explain.Box`.
        title: over all.
    """
    width, height = image.size
    scale = 4.2 / max(width, height)
    drawn = image.convert("RGB")
    drawn.thumbnail((LARGEST, LARGEST))
    painted = [colours[number % len(colours)] for number in range(len(texts))]
    with styled():
        figure = new_figure(2 * max(scale * width, 2) + 0.3, max(scale * height, 1.5) + 1.4)
        head(figure, title)
        for number in range(2):
            axes = figure.add_subplot(1, 2, number + 1)
            axes.imshow(np.asarray(drawn), extent=(0, width, height, 0))
            axes.axis("off")
        axes.imshow(
            labels_HW, cmap=ListedColormap(painted), vmin=-0.5, vmax=len(texts) - 0.5,
            alpha=COVER, extent=(0, width, height, 0), interpolation="nearest",
        )  # fmt: skip
        for box in boxes:
            edges = (box.left, box.top), box.right - box.left, box.bottom - box.top
            axes.add_patch(Rectangle(*edges, fill=False, edgecolor="white", linewidth=3))
            axes.add_patch(Rectangle(*edges, fill=False, edgecolor=painted[box.text], linewidth=2))
        present = [number for number in range(len(texts)) if (labels_HW == number).any()]
        patches = [Patch(color=painted[n], label=label(texts[n], 30)) for n in present]
        figure.legend(handles=patches, loc="outside lower center", ncols=min(len(present), 4))
    return figure
