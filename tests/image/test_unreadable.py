"""Images that Pillow opened and cannot read any more."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from nnclip.errors import DataError
from nnclip.image import Preprocess, open_image

CONTENT = BytesIO()
NOISE = np.random.default_rng(0).integers(0, 255, (90, 80, 3), np.uint8)
Image.fromarray(NOISE).save(CONTENT, "JPEG")


def closed() -> Image.Image:
    image = Image.open(BytesIO(CONTENT.getvalue()))
    image.close()
    return image


def of_a_closed_file() -> Image.Image:
    file = BytesIO(CONTENT.getvalue())
    image = Image.open(file)
    file.close()
    return image


def cut() -> Image.Image:
    return Image.open(BytesIO(CONTENT.getvalue()[:2000]))


def read_and_closed() -> Image.Image:
    image = Image.fromarray(NOISE)
    image.close()
    return image


@pytest.mark.parametrize("opened", [closed, of_a_closed_file, cut, read_and_closed])
@pytest.mark.parametrize("resize", ["shortest", "squash", "longest", "none"])
def test_they_are_told_wherever_they_are_used(
    opened: Callable[[], Image.Image], resize: str
) -> None:
    prepare = Preprocess(32, resize=resize)
    rng = np.random.default_rng(0)
    for use in (
        prepare,
        prepare.square,
        prepare.normalise_image,
        lambda image: prepare.random_crop(image, rng),
        open_image,
    ):
        with pytest.raises(DataError, match=r"image|picture"):
            use(opened())
