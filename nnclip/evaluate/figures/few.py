"""Figure of few shots: accuracy over the images of each class that were shown."""

import re
from collections.abc import Mapping

from matplotlib.figure import Figure

from nnclip.evaluate.figures.style import BLUE, FAINT, GREEN, new_figure, styled

METHODS = {"tip_adapter": ("Tip-Adapter", BLUE), "linear_probe": ("linear probe", GREEN)}


def shots_figure(metrics: Mapping[str, float]) -> Figure:
    """A line for each method over the shots, and the names alone as a level.

    Args:
        metrics: of `few_shot`: `METHOD_K_shots_acc1` and `zero_shot_acc1`.
    """
    with styled():
        figure = new_figure(6.2, 4.0)
        axes = figure.add_subplot(1, 1, 1)
        axes.axhline(metrics["zero_shot_acc1"], color=FAINT, label="names alone")
        counts: list[int] = []
        for method, (title, colour) in METHODS.items():
            found = [
                (re.fullmatch(rf"{method}_(\d+)_shots_acc1", name), metrics[name])
                for name in metrics
            ]
            points = sorted((int(match[1]), value) for match, value in found if match)
            counts = [count for count, _ in points]
            axes.plot(counts, [value for _, value in points], "o-", color=colour, label=title)
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_xlabel("images of each class")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_title("Top-1 accuracy", loc="left")
        axes.grid(True)
        axes.legend()
    return figure
