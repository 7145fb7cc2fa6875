"""What all figures share: colours, fonts, frames, images in axes."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import arabic_reshaper
import matplotlib
import matplotlib.font_manager
import numpy as np
from bidi import get_display
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from nnclip.errors import DataError

logger = logging.getLogger(__name__)

INK, FAINT, GROUND = "#1f2933", "#9aa5b1", "#e4e7eb"
# Okabe and Ito's, which colour-blind readers tell apart, too: GREEN is right and RED wrong.
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
LINES = (BLUE, ORANGE, GREEN, RED, "#cc79a7", "#56b4e9")
# Fonts for scripts that matplotlib's own font lacks, where the machine has them.
SCRIPTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans KR",
           "Noto Sans Arabic", "IPAGothic", "WenQuanYi Zen Hei", "Droid Sans Fallback")  # fmt: skip
DPI = 160
MISSING_GLYPH = "Glyph .* missing from"


@lru_cache(maxsize=1)
def _settings() -> dict[str, object]:
    installed = {font.name for font in matplotlib.font_manager.fontManager.ttflist}
    return {
        "font.family": [name for name in SCRIPTS if name in installed],
        "font.size": 12,
        "text.color": INK,
        "text.parse_math": False,  # captions may hold dollars
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "axes.titlesize": 13,
        "axes.titleweight": "bold",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": GROUND,
        "legend.frameon": False,
    }


@contextmanager
def styled() -> Iterator[None]:
    """matplotlib with nnclip's settings inside; the caller's own stay."""
    with matplotlib.rc_context(_settings()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", MISSING_GLYPH)  # `save` tells, once
        yield


@lru_cache(maxsize=1)
def _warn_of_boxes() -> None:
    logger.warning(
        "no font of this machine has some of the letters: they are drawn as boxes. For Chinese, "
        "Japanese and Korean on Debian: apt-get install fonts-noto-cjk"
    )


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, whose axes make room for each other."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def head(figure: Figure, title: str) -> None:
    """What the whole figure shows, over its left edge."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=15, fontweight="bold")


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Write FOLDER/NAME.png.

    Raises:
        DataError: the folder cannot be written to.
    """
    return save_as(figure, folder / f"{name}.png")


def save_as(figure: Figure, path: Path) -> Path:
    """Write a file in the format of its suffix; DataError if that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with styled(), warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", MISSING_GLYPH)
            figure.savefig(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error
    if any(re.match(MISSING_GLYPH, str(warning.message)) for warning in caught):
        _warn_of_boxes()
    logger.info("wrote %s", path)
    return path


def show(axes: Axes, image: Image.Image, frame: str = "") -> None:
    """An image without ticks, its central square if it is long; `frame` is a colour around it."""
    square = ImageOps.fit(image.convert("RGB"), (256, 256), Image.Resampling.LANCZOS)
    axes.imshow(np.asarray(square))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(bool(frame))
        spine.set_edgecolor(frame or "none")
        spine.set_linewidth(4)


def bars(
    axes: Axes, names: list[str], values: np.ndarray, colours: list[str], largest: float = 1.0
) -> None:
    """Horizontal bars from the top down, each with its name above and its per cent behind it."""
    places = np.arange(len(names))
    axes.barh(places, np.full(len(names), largest), color=GROUND, height=0.34)
    axes.barh(places, values, color=colours, height=0.34)
    for place, name, value in zip(places, names, values, strict=True):
        axes.text(0, place - 0.27, label(name, 32), va="bottom", fontsize=11)
        axes.text(largest, place - 0.27, f"{value:.1%}", va="bottom", ha="right", fontsize=11,
                  fontweight="bold", color=colours[place])  # fmt: skip
    axes.set_xlim(0, largest)
    axes.set_ylim(len(names) - 0.6, -0.85)
    axes.axis("off")


def label(text: str, length: int) -> str:
    """A label of at most `length` characters, escaped for matplotlib.

    It draws letters one by one from left to right: those of Arabic and Persian are joined and
    put in the order of the page before.
    """
    short = text if len(text) <= length else text[: length - 1].rstrip() + "…"
    return get_display(arabic_reshaper.reshape(short))
