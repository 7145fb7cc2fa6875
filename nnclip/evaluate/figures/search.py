"""The figure of a query: the five nearest images, and their ranks among all."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from nnclip.evaluate.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    ORANGE,
    label,
    new_figure,
    show,
    styled,
)

NEAREST = 5


def nearest_figure(
    caption: str,
    nearest: Sequence[Image.Image],
    values: Sequence[float],
    truth: Image.Image | None,
    true_rank: int,
    similarities: np.ndarray,
    true_similarity: float | None = None,
    hit: int | None = None,
) -> Figure:
    """A caption, the images nearest to it, the true one, a histogram of all similarities.

    Args:
        caption: the query.
        nearest: up to five images, nearest first.
        values: their cosines.
        truth: the image that the caption was written for; None without one.
        true_rank: its place among all, from 1.
        similarities: (N,) cosines of the caption and every image.
        true_similarity: that of the true image.
        hit: which of `nearest` is the true one.
    """
    with styled():
        figure = new_figure(13.5, 6.2)
        widths = [1.0] * NEAREST + ([] if truth is None else [0.12, 1.0])  # a gap before the true
        grid = figure.add_gridspec(2, len(widths), height_ratios=[1, 0.85], width_ratios=widths)
        figure.suptitle(f"“{label(caption, 90)}”", fontsize=18, fontweight="bold")
        for i, (image, value) in enumerate(zip(nearest, values, strict=True)):
            axes = figure.add_subplot(grid[0, i])
            show(axes, image, GREEN if i == hit else "")
            axes.set_title(f"{i + 1}.  {value:.3f}", color=GREEN if i == hit else BLUE)
        if truth is not None:
            axes = figure.add_subplot(grid[0, -1])
            show(axes, truth, GREEN if hit is not None else ORANGE)
            axes.set_title(f"true: place {true_rank:,}", color=GREEN if hit is not None else ORANGE)
        _histogram(figure.add_subplot(grid[1, :]), similarities, values, true_similarity)
    return figure


def _histogram(axes, similarities, values, true_similarity) -> None:  # type: ignore[no-untyped-def]
    counts, edges = np.histogram(similarities, bins=80)
    axes.stairs(counts, edges, fill=True, color=FAINT, alpha=0.45)
    for i, value in enumerate(values):
        axes.axvline(value, color=BLUE, linewidth=2, label="the five nearest" if i == 0 else None)
    if true_similarity is not None:
        axes.axvline(
            true_similarity, color=ORANGE, linewidth=2, linestyle="--", label="the true one"
        )
    axes.set_xlabel(f"cosine similarity to each of {len(similarities):,} images")
    axes.set_ylabel("images")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="upper left")
    axes.grid(True, axis="y")
