"""Figures of a training run: its curves, and the pairs that it learns from."""

import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from nnclip.errors import DataError
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
from nnclip.files import read_text

LOG = "log.jsonl"
LARGEST = 1 << 30  # bytes of a log: five million steps
Curves = dict[str, tuple[np.ndarray, np.ndarray]]
SMOOTHED = 0.06  # of a curve's length


def read_curves(folder: Path) -> Curves:
    """The numbers that a run wrote: name -> steps and values.

    Raises:
        DataError: there is no log, or no loss in it.
    """
    try:
        lines = read_text(folder / LOG, LARGEST).splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / LOG}: {error}; expected a run's folder") from error
    found: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        try:
            values = json.loads(line)
            step = values.pop("step")
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # the last line of a run that was killed
        for name, value in values.items():
            if isinstance(value, (int, float)):
                found.setdefault(name, []).append((step, value))
    if "loss" not in found:
        raise DataError(f"{folder / LOG}: no loss in its {len(lines)} lines; expected a run's log")
    tables = {name: np.array(points, float) for name, points in found.items()}
    return {name: (table[:, 0], table[:, 1]) for name, table in tables.items()}


def curves_figure(curves: Curves) -> Figure:
    """Loss, accuracy within the batch, learning rate and logit scale over the steps."""
    panels = (
        ("Loss", {"loss": BLUE, "val_loss": ORANGE}),
        ("Right pairs in a batch", {"image_accuracy": BLUE, "text_accuracy": GREEN}),
        ("Learning rate", {"learning_rate": FAINT}),
        ("Logit scale", {"logit_scale": FAINT}),
    )
    shown = [(title, {k: c for k, c in names.items() if k in curves}) for title, names in panels]
    shown = [(title, names) for title, names in shown if names]
    wide = min(len(shown), 2)
    with styled():
        figure = new_figure(6.2 * wide, 3.6 * -(-len(shown) // wide))
        for place, (title, names) in enumerate(shown, 1):
            axes = figure.add_subplot(-(-len(shown) // wide), wide, place)
            for name, colour in names.items():
                steps, values = curves[name]
                axes.plot(steps, values, color=colour, alpha=0.25, linewidth=1)
                smoothed = smooth(values)
                axes.plot(
                    steps, smoothed, color=colour, linewidth=2.4, label=name.replace("_", " ")
                )
            axes.set_title(title, loc="left")
            axes.set_xlabel("step")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            axes.grid(True)
            axes.set_xlim(left=0)
            if "accuracy" in " ".join(names):
                axes.set_ylim(0, 1)
                axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            if len(names) > 1:
                axes.legend()
    return figure


def smooth(values: np.ndarray) -> np.ndarray:
    """A running mean as wide as SMOOTHED of the curve, narrower at its ends; same length."""
    reach = int(len(values) * SMOOTHED / 2)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    spread = np.minimum(reach, np.minimum(at, len(values) - 1 - at))
    return (sums[at + spread + 1] - sums[at - spread]) / (2 * spread + 1)


def samples_figure(images: Sequence[Image.Image], captions: Sequence[str]) -> Figure:
    """Images with their captions below, six a row."""
    columns = min(6, len(images))
    rows = -(-len(images) // columns)
    with styled():
        figure = new_figure(2.3 * columns, 2.95 * rows)
        for place, (image, caption) in enumerate(zip(images, captions, strict=True), 1):
            axes = figure.add_subplot(rows, columns, place)
            show(axes, image)
            lines = wrap(caption, 28, max_lines=3, placeholder="…")
            axes.set_xlabel("\n".join(label(line, 28) for line in lines), fontsize=9.5)
    return figure
