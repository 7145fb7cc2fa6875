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
JUDGED = ("_acc1", "_recall@1")  # of `--eval`, what is drawn and told


def draw_curves(log: list[dict[str, Any]], path: Path) -> None:
    """Draw what a run's log holds.

    Args:
        log: lines of `boards.read_log`.
        path: the image to write.
    """
    from matplotlib.figure import Figure  # takes a second

    judged = sorted({name for line in log for name in line if name.endswith(JUDGED)})
    panels = (*PANELS, ("Evaluation", judged, "linear")) if judged else PANELS
    columns = -(-len(panels) // 2)
    figure = Figure(figsize=(4 * columns, 6.5))
    # a layout of matplotlib's own measures every text first: half as long again
    figure.subplots_adjust(0.05, 0.07, 0.99, 0.93, wspace=0.18, hspace=0.32)
    grid = figure.subplots(2, columns).flat
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, names, scale) in zip(grid, panels, strict=False):
        for name in names:
            points = [(line["step"], line[name]) for line in log if name in line]
            if points:
                dotted = name.startswith("validation_") or name in judged
                label = name.replace("_", " ")
                axes.plot(*zip(*points, strict=True), "o--" if dotted else "-", ms=3, label=label)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_yscale(scale)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        if len(names) > 1 or names is judged:
            axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)
