"""Figures of comparisons: typographic attacks and bias."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from nnclip.evaluate.bias import Bias
from nnclip.evaluate.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    LINES,
    RED,
    bars,
    label,
    new_figure,
    show,
    styled,
)
from nnclip.evaluate.typographic import Attack

TOP = 3


def attack_figure(
    attack: Attack,
    clean: Sequence[Image.Image],
    attacked: Sequence[Image.Image],
    rows: Sequence[int],
) -> Figure:
    """How much accuracy the written word costs, and some images before and after.

    Args:
        attack: the measured answers.
        clean, attacked: some of its images, as they were and with the word.
        rows: their rows in the answers.
    """
    metrics = attack.metrics()
    with styled():
        figure = new_figure(15, 0.7 + 2.5 * max(len(rows), 1))
        left, right = figure.subfigures(1, 2, width_ratios=[1, 2.9])
        axes = left.add_subplot()
        values = [metrics["acc1_clean"], metrics["acc1_attacked"], metrics["fooled"]]
        names = ["as it is", "with a\nwrong word", "takes the word\nfor the image"]
        axes.bar(range(3), values, color=[BLUE, LINES[1], RED], width=0.62)
        for place, value in enumerate(values):
            axes.text(place, value + 0.015, f"{value:.1%}", ha="center", fontweight="bold")
        axes.set_xticks(range(3), names)
        axes.tick_params(axis="x", length=0)
        axes.set(ylim=(0, 1.05), yticks=[])
        axes.spines["left"].set_visible(False)
        axes.set_title(f"Accuracy drops by {100 * metrics['drop']:.1f} points", loc="left")
        grid = right.add_gridspec(max(len(rows), 1), 4, width_ratios=[1, 1.15, 1, 1.15])
        for line, (row, before, after) in enumerate(zip(rows, clean, attacked, strict=True)):
            for column, (image, answers) in enumerate(
                ((before, attack.clean), (after, attack.attacked))
            ):
                show(right.add_subplot(grid[line, 2 * column]), image)
                best = np.argsort(-answers.probabilities[row], kind="stable")[:TOP]
                colours = [_colour(j, row, attack) for j in best]
                texts = [answers.classes[j] for j in best]
                axes = right.add_subplot(grid[line, 2 * column + 1])
                bars(axes, texts, answers.probabilities[row][best], colours)
    return figure


def _colour(answer: int, row: int, attack: Attack) -> str:
    """Green for the truth, red for the written word."""
    if answer == attack.clean.labels[row]:
        return GREEN
    return RED if answer == attack.written[row] else FAINT


def bias_figure(bias: Bias, images: Sequence[Image.Image]) -> Figure:
    """One panel a group: an image of it and the mean probability of each caption.

    Args:
        bias: the measured probabilities.
        images: one for each group.
    """
    means = bias.means()
    groups = len(means)
    order = np.argsort(-means.mean(0), kind="stable")[:10]
    columns = min(3, groups)
    rows = -(-groups // columns)
    height = 0.8 + 0.5 * len(order)
    with styled():
        figure = new_figure(5.2 * columns, rows * height)
        grid = figure.add_gridspec(rows, 2 * columns, width_ratios=[0.75, 1] * columns)
        for g, image in enumerate(images):
            y, x = divmod(g, columns)
            axes = figure.add_subplot(grid[y, 2 * x])
            show(axes, image)
            count = int((bias.group_of_image == g).sum())
            axes.set_title(label(bias.groups[g], 24))
            axes.set_xlabel(f"{count} image{'s' if count > 1 else ''}", color=FAINT)
            texts = [bias.captions[j] for j in order]
            panel = figure.add_subplot(grid[y, 2 * x + 1])
            bars(panel, texts, means[g][order], [LINES[g % len(LINES)]] * len(order))
    return figure
