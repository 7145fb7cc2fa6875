"""The curves of a run as one image, from its log."""

from pathlib import Path
from typing import Any

PANELS = (
    ("Loss", ("loss", "validation_loss"), "linear"),
    ("Accuracy within the batch", ("image_accuracy", "validation_image_accuracy",
                                   "text_accuracy", "validation_text_accuracy"), "linear"),
    ("Learning rate", ("learning_rate",), "linear"),
    ("Logit scale", ("logit_scale",), "linear"),
    ("Gradient norm", ("gradient_norm",), "log"),
    ("Pairs per second", ("pairs_per_second",), "linear"),
)  # fmt: skip


def draw_curves(log: list[dict[str, Any]], path: Path) -> None:
    """Draw what a run's log holds.

    Args:
        log: lines of `boards.read_log`.
        path: the image to write.
    """
    from matplotlib.figure import Figure  # takes a second

    figure = Figure(figsize=(12, 6.5), layout="constrained")
    for axes, (title, names, scale) in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        for name in names:
            points = [(line["step"], line[name]) for line in log if name in line]
            if points:
                dotted = name.startswith("validation_")
                label = name.replace("_", " ")
                axes.plot(*zip(*points, strict=True), "o--" if dotted else "-", ms=3, label=label)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_yscale(scale)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        if len(names) > 1:
            axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)
