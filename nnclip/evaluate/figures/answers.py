"""Figures of answers: probabilities beside images, a heat map, calibration, classes.

Axes: N images, M texts.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from nnclip.evaluate.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    RED,
    bars,
    head,
    label,
    new_figure,
    show,
    styled,
)
from nnclip.evaluate.metrics import reliability_bins
from nnclip.evaluate.zero_shot import Classification

TOP = 5


def probabilities_figure(
    images: Sequence[Image.Image],
    probabilities: np.ndarray,
    texts: Sequence[str],
    truth: Sequence[int] | None = None,
) -> Figure:
    """Each image with the bars of its likeliest texts, two images a row.

    Args:
        images: N, a page's worth: one to twelve.
        probabilities: (N, M) float, rows sum to 1.
        texts: M names.
        truth: for each image its right text: green, a wrong answer is red; where it is not among
            the likeliest, it takes the last bar.
    """
    columns = min(2, len(images))
    rows = -(-len(images) // columns)
    shown = min(TOP, len(texts))
    with styled():
        figure = new_figure(6.4 * columns, 0.5 + 2.7 * rows)
        about = f"{len(texts)} texts" if truth is None else f"{len(texts)} classes; green is right"
        head(figure, f"Probabilities among {about}")
        grid = figure.add_gridspec(rows, 2 * columns, width_ratios=[1, 1.3] * columns)
        for i, (image, row) in enumerate(zip(images, probabilities, strict=True)):
            best = np.argsort(-row, kind="stable")[:shown]
            if truth is not None and truth[i] not in best:
                best[-1] = truth[i]
            colours = [BLUE if place == 0 else FAINT for place in range(shown)]
            if truth is not None:
                colours[0] = RED
                colours = [
                    GREEN if j == truth[i] else c for j, c in zip(best, colours, strict=True)
                ]
            y, x = divmod(i, columns)
            show(figure.add_subplot(grid[y, 2 * x]), image)
            axes = figure.add_subplot(grid[y, 2 * x + 1])
            bars(axes, [texts[j] for j in best], row[best], colours)
    return figure


def heat_map_figure(
    images: Sequence[Image.Image], similarities: np.ndarray, texts: Sequence[str]
) -> Figure:
    """Images across, texts down, the cosine of each two; the best text of an image is framed.

    Args:
        images: N, up to about twelve.
        similarities: (N, M) cosines.
        texts: M.
    """
    count, lines = similarities.shape
    with styled():
        figure = new_figure(4.2 + 1.15 * count, 2.1 + 0.72 * lines)
        head(figure, "Cosine similarity of images and texts; framed: the best text of an image")
        grid = figure.add_gridspec(2, count, height_ratios=[1.15, 0.72 * lines])
        for i, image in enumerate(images):
            show(figure.add_subplot(grid[0, i]), image)
        axes = figure.add_subplot(grid[1, :])
        axes.imshow(similarities.T, cmap="Blues", aspect="auto")
        middle = (similarities.min() + similarities.max()) / 2
        for i in range(count):
            for j in range(lines):
                value = similarities[i, j]
                best = j == similarities[i].argmax()
                text = f"{value:.2f}".replace("-0.00", "0.00")
                axes.text(i, j, text, ha="center", va="center", fontsize=12,
                          color="white" if value > middle else INK,
                          fontweight="bold" if best else "normal")  # fmt: skip
            corner = (i - 0.48, similarities[i].argmax() - 0.47)
            frame = Rectangle(corner, 0.96, 0.94, fill=False, edgecolor=ORANGE, linewidth=3)
            axes.add_patch(frame)
        axes.set_yticks(range(lines), [label(text, 40) for text in texts])
        axes.set_xticks([])
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def calibration_figure(answers: Classification) -> Figure:
    """Accuracy against confidence: on the diagonal, a model knows how sure it may be."""
    confidence = answers.probabilities.max(1)
    correct = answers.predicted == answers.labels
    mean, accuracy, count = reliability_bins(confidence, correct, 10)
    error = answers.metrics()["expected_calibration_error"]
    filled = count > 0
    with styled():
        figure = new_figure(5.6, 5.4)
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1.5)
        centres = (np.arange(10) + 0.5) / 10
        axes.bar(centres[filled], accuracy[filled], width=0.092, color=BLUE, alpha=0.25)
        sizes = 30 + 500 * count[filled] / count.max()
        axes.scatter(mean[filled], accuracy[filled], s=sizes, color=BLUE, zorder=3, clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy", aspect="equal")
        axes.grid(True)
        axes.set_title(
            f"Calibration error {error:.1%}  ({len(correct):,} images)", loc="left", pad=14
        )
    return figure


def classes_figure(answers: Classification, shown: int = 24) -> Figure:
    """Recall of each class; of many, the best and the worst."""
    rows = [row for row in answers.per_class() if row["recall"] is not None]
    rows.sort(key=lambda row: -float(str(row["recall"])))
    half = shown // 2
    picked = rows if len(rows) <= shown else rows[:half] + rows[-half:]
    with styled():
        figure = new_figure(7.5, 1.2 + 0.33 * len(picked))
        axes = figure.add_subplot()
        values = [float(str(row["recall"])) for row in picked]
        colours = [GREEN if value >= 0.5 else RED for value in values]
        axes.barh(range(len(picked)), values, color=colours, height=0.62)
        labels = [label(str(row["class"]), 34) for row in picked]
        axes.set_yticks(range(len(picked)), labels)
        for place, (row, value) in enumerate(zip(picked, values, strict=True)):
            mistake = row["mistaken_for"] if value < 0.5 else None
            note = f"{value:.0%}" + (f"   taken for {label(str(mistake), 30)}" if mistake else "")
            axes.text(value + 0.01, place, note, va="center", fontsize=10)
        if len(rows) > shown:
            axes.axhline(half - 0.5, color=FAINT, linestyle=":")
        axes.set(xlim=(0, 1.12), ylim=(len(picked) - 0.4, -0.6))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.tick_params(axis="y", length=0)
        which = f"the best and the worst of {len(rows)}" if len(rows) > shown else f"{len(rows)}"
        axes.set_title(f"Recall of {which} classes", loc="left")
        axes.grid(True, axis="x")
    return figure
