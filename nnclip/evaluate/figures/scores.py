"""The figure of how well the pairs of a data set fit."""

import numpy as np
from matplotlib.figure import Figure

from nnclip.evaluate.figures.style import BLUE, INK, ORANGE, head, new_figure, styled

BINS = 60


def scores_figure(cosines: np.ndarray, title: str, least: float | None = None) -> Figure:
    """A histogram of cosines with their median and, if given, where a filter cuts."""
    middle = float(np.median(cosines))
    with styled():
        figure = new_figure(9, 4.6)
        head(figure, title)
        axes = figure.add_subplot()
        axes.hist(cosines, bins=BINS, color=BLUE)
        axes.axvline(middle, color=INK, linestyle="--", linewidth=1.5, label=f"median {middle:.3f}")
        if least is not None:
            share = float((cosines >= least).mean())
            said = f"kept from {least:.3f} on: {share:.1%}"
            axes.axvline(least, color=ORANGE, linewidth=2, label=said)
        axes.set_xlabel("cosine of image and caption")
        axes.set_ylabel("pairs")
        axes.grid(axis="y")
        axes.legend()
    return figure
