"""One pair -> one row of a batch. Runs in worker processes."""

from dataclasses import dataclass, field

import numpy as np

from nnclip.errors import DataError
from nnclip.image import USUAL_DECODING, Colours, Decoding, Preprocess
from nnclip.sources import open_stored
from nnclip.training.data.pairs import COLOUR, CROP, Draw, Pair


@dataclass(frozen=True)
class Recipe:
    """How images become rows.

    Attributes:
        preprocess: what the model wants to see.
        crop: least share of the area that a random crop keeps; None to crop the centre, always
            alike (validation).
        decoding: how files are read.
        stretch: largest width / height, and height / width, of a random crop.
        colours: how colours are changed.
    """

    preprocess: Preprocess
    crop: float | None = 0.9
    decoding: Decoding = USUAL_DECODING
    # not in the keys of caches, whose images are all cropped in the centre
    stretch: float = field(default=4 / 3, repr=False)
    colours: Colours = field(default=Colours(), repr=False)


read_picture = open_stored  # its name before


def decode(pair: Pair, draw: Draw, recipe: Recipe, row_3RR: np.ndarray) -> str | None:
    """Fill one row of a batch; returns what is wrong with the image, or None."""
    try:
        picture = open_stored(pair, recipe.preprocess, recipe.decoding, recipe.crop)
        if recipe.crop is None:
            recipe.preprocess(picture, row_3RR)
        else:
            scale, ratio = (recipe.crop, 1.0), (1 / recipe.stretch, recipe.stretch)
            part = recipe.preprocess.random_crop(picture, draw.rng(CROP), scale, ratio)
            part = recipe.colours(part, draw.rng(COLOUR))
            recipe.preprocess.normalise_image(part, row_3RR)
    except DataError as error:
        return str(error)
    return None
