"""One pair -> one row of a batch. Runs in worker processes."""

from dataclasses import dataclass

import numpy as np

from nnclip.errors import DataError
from nnclip.image import normalise, preprocess, random_resized_crop
from nnclip.sources import open_stored
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


read_picture = open_stored  # its name before


def decode(pair: Pair, draw: Draw, recipe: Recipe, row_3RR: np.ndarray) -> str | None:
    """Fill one row of a batch; returns what is wrong with the picture, or None."""
    try:
        picture = open_stored(pair)
        if recipe.crop is None:
            row_3RR[:] = preprocess(picture, recipe.resolution, recipe.mean, recipe.std)
        else:
            scale = (recipe.crop, 1.0)
            part = random_resized_crop(picture, recipe.resolution, draw.rng(CROP), scale)
            normalise(part, recipe.mean, recipe.std, out=row_3RR)
    except DataError as error:
        return str(error)
    return None
