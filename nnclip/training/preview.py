"""A contact sheet: a batch as the model sees it, to see before step 1 what a reader understood.

Each image is the crop that the model gets, pixel by pixel; below it stands what its text tower
reads: the caption's tokens, so a caption that is too long ends where the model's ends.

Axes: N batch, R resolution.
"""

import logging
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nnclip.errors import DataError
from nnclip.extras import extra
from nnclip.files import shown
from nnclip.image import Preprocess

with extra():
    from matplotlib.font_manager import FontProperties, findfont, fontManager
    from matplotlib.ft2font import FT2Font

logger = logging.getLogger(__name__)

MOST = 48  # pairs on a sheet
COLUMNS = 8
LEAST_SIDE = 160  # pixels; smaller images are enlarged by a whole factor
MARGIN, LINES, SIZE = 8, 5, 13  # around a cell, lines of a caption, height of letters
# for scripts that the first lacks, where the machine has them
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans Arabic",
    "IPAGothic",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
)


def write_preview(
    path: Path, images_N3RR: np.ndarray, captions: Sequence[str], preprocess: Preprocess
) -> None:
    """Write a contact sheet; its format is that of the file's suffix.

    Args:
        path: the image to write.
        images_N3RR: (N, 3, R, R) float32, normalised.
        captions: N, as the text tower reads them.
        preprocess: how the images were normalised.

    Raises:
        DataError: it cannot be written.
    """
    sheet = contact_sheet(pixels(images_N3RR[:MOST], preprocess), captions[:MOST])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path)
    except (OSError, ValueError) as error:  # no room, no right, no format of this suffix
        raise DataError(f"{shown(path)}: cannot be written ({error}), expected x.png") from error
    logger.info("%s: %d pairs as the model sees them", shown(path), min(MOST, len(captions)))


def pixels(images_N3RR: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """(N, R, R, 3) uint8 of normalised images (N, 3, R, R)."""
    mean, std = (np.array(triple)[:, None, None] for triple in (preprocess.mean, preprocess.std))
    values_N3RR = (images_N3RR * std + mean) / preprocess.rescale
    return values_N3RR.round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def contact_sheet(pixels_NRR3: np.ndarray, captions: Sequence[str]) -> Image.Image:
    """Images in rows of COLUMNS, each over its caption."""
    count, side = pixels_NRR3.shape[:2]
    side *= -(-LEAST_SIDE // side)
    columns = min(COLUMNS, count)
    width, height = side + MARGIN, side + MARGIN + LINES * (SIZE + 3) + MARGIN
    rows = -(-count // columns)
    sheet = Image.new("RGB", (columns * width + MARGIN, rows * height + MARGIN), "white")
    draw, boxed = ImageDraw.Draw(sheet), False
    for number, (image_RR3, caption) in enumerate(zip(pixels_NRR3, captions, strict=True)):
        left = MARGIN + number % columns * width
        top = MARGIN + number // columns * height
        image = Image.fromarray(image_RR3).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(image, (left, top))
        font, boxes = _font(caption)
        boxed = boxed or boxes
        text = "\n".join(_wrapped(shown(caption), font, side))
        draw.text((left, top + side + 3), text, fill="black", font=font, spacing=1)
    if boxed:
        logger.warning(
            "no font of this machine has some of the letters: they are drawn as boxes. For "
            "Chinese, Japanese and Korean on Debian: apt-get install fonts-noto-cjk"
        )
    return sheet


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """At most LINES lines that fit into `width` pixels."""
    letter = font.getlength(text) / max(len(text), 1)
    letters = max(int(width / letter), 1) if letter else 1
    lines = textwrap.wrap(text, letters) or ["(empty)"]
    while any(font.getlength(line) > width for line in lines) and letters > 1:
        letters -= 1
        lines = textwrap.wrap(text, letters)
    return lines if len(lines) <= LINES else [*lines[: LINES - 1], f"{lines[LINES - 1][:-2]}…"]


def _font(text: str) -> tuple[ImageFont.FreeTypeFont, bool]:
    """The font of this machine with the most letters of a text, and whether it lacks some."""
    installed = {font.name for font in fontManager.ttflist}
    letters = {ord(letter) for letter in text if not letter.isspace()}
    paths = [findfont(FontProperties(family=name)) for name in FONTS if name in installed]
    lacking = {path: len(letters - FT2Font(path).get_charmap().keys()) for path in paths}
    best = min(paths, key=lambda path: lacking[path])
    return ImageFont.truetype(best, SIZE), lacking[best] > 0
