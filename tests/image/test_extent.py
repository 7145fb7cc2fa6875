"""The geometry of reduced images is that of their files, whatever their sizes and turns."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from nnclip.image import Decoding, Preprocess
from nnclip.image.extent import extent_of

EXACT = Decoding(exact=True)
PREPARES = [
    Preprocess(12), Preprocess(12, "squash"), Preprocess(12, "longest", fill=90),
    Preprocess(12, size=14), Preprocess(14, size=12), Preprocess(12, pipeline="transformers"),
]  # fmt: skip


def ramp(size: tuple[int, int]) -> Image.Image:
    """Grows from left to right in red and from top to bottom in green: tells where a pixel is."""
    x, y = (np.linspace(0, 255, side) for side in size)
    planes = np.stack([*np.meshgrid(x, y), np.full(size[::-1], 60.0)], -1)
    return Image.fromarray(planes.astype(np.uint8))


def encoded(image: Image.Image, kind: str, orientation: int = 1) -> bytes:
    exif, file = Image.Exif(), BytesIO()
    exif[0x0112] = orientation
    image.save(file, kind, exif=exif, **({"quality": 98} if kind == "JPEG" else {}))
    return file.getvalue()


@pytest.mark.parametrize("prepare", PREPARES, ids=Preprocess.describe)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_nothing_is_shifted_or_stretched(prepare, kind, orientation):
    for size in ((391, 263), (201, 407), (231, 233), (256, 256)):
        content = encoded(ramp(size), kind, orientation)
        assert not extent_of(prepare.open(content)).whole
        found, wanted = prepare.planes(content).astype(int), prepare.planes(content, EXACT)
        assert np.abs(found - wanted).max() <= 3


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_random_crop_is_the_same_part(orientation):
    content = encoded(ramp((391, 263)), "JPEG", orientation)
    prepare, parts = Preprocess(12), []
    for decoding in (Decoding(), EXACT):
        image = prepare.open(content, decoding, crop=0.3)
        rng = np.random.default_rng(3)
        crops = [prepare.random_crop(image, rng, (0.3, 1.0)) for _ in range(9)]
        parts.append(np.stack(crops).astype(int))
    assert np.abs(parts[0] - parts[1]).max() <= 4


def test_a_copy_in_other_colours_keeps_its_extent_and_a_part_does_not():
    image = Preprocess(12).open(encoded(ramp((391, 263)), "JPEG"))
    assert extent_of(image.convert("L")) == extent_of(image)
    assert extent_of(image.crop((0, 0, 30, 20))).whole
    assert not extent_of(image.copy()).whole
