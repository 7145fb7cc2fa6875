"""One pair -> one row of a batch. Runs in worker processes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nnclip.errors import DataError
from nnclip.image import normalise, open_image, preprocess, random_resized_crop
from nnclip.training.data.pairs import CROP, Draw, Pair


@dataclass(frozen=True)
class Recipe:
    """How pictures become rows.

    Attributes:
        resolution: pixels of a side.
        mean: of the RGB channels in [0, 1].
        std: likewise.
        crop: least share of the area that a random crop keeps; None to crop the centre, always
            alike (validation).
    """

    resolution: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: float | None = 0.9


def read_picture(pair: Pair) -> Image.Image:
    """The picture of a pair; DataError where it cannot be read."""
    if pair.size < 0:
        return open_image(Path(pair.path))
    try:
        with open(pair.path, "rb") as file:
            file.seek(pair.offset)
            content = file.read(pair.size)
    except OSError as error:
        raise DataError(f"{pair.name}: cannot be read ({error})") from error
    return open_image(content)


def decode(pair: Pair, draw: Draw, recipe: Recipe, row_3RR: np.ndarray) -> str | None:
    """Fill one row of a batch; returns what is wrong with the picture, or None."""
    try:
        picture = read_picture(pair)
        if recipe.crop is None:
            row_3RR[:] = preprocess(picture, recipe.resolution, recipe.mean, recipe.std)
        else:
            scale = (recipe.crop, 1.0)
            part = random_resized_crop(picture, recipe.resolution, draw.rng(CROP), scale)
            normalise(part, recipe.mean, recipe.std, out=row_3RR)
    except DataError as error:
        return str(error)
    return None
