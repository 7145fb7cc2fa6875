"""nnclip's images beside torchvision's, bit for bit."""

import numpy as np
import pytest

from nnclip.image import CLIP_MEAN, CLIP_STD, Preprocess
from nnclip.image.geometry import random_crop_box
from tests.lazy import lazy

T = lazy("torchvision.transforms")
pytestmark = pytest.mark.torch

SIZES = (
    *((1, 1), (3, 2), (224, 224), (223, 225), (225, 448), (449, 225), (640, 481), (333, 500)),
    *((7, 1000), (1000, 7), (500, 1)),
)


@pytest.mark.parametrize("resolution", [1, 31, 224])
def test_preprocess_equals_openais_pipeline(picture, mode, resolution):
    bicubic = T.InterpolationMode.BICUBIC
    steps = [T.Resize(resolution, interpolation=bicubic), T.CenterCrop(resolution)]
    to_rgb = [lambda image: image.convert("RGB"), T.ToTensor(), T.Normalize(CLIP_MEAN, CLIP_STD)]
    reference = T.Compose(steps + to_rgb)
    for size in SIZES:
        image = picture(mode, size)
        assert np.array_equal(Preprocess(resolution)(image), reference(image).numpy()), size


def test_the_random_crop_equals_torchvisions(picture, mode):
    image = picture(mode, (57, 43))
    box = random_crop_box(image.size, np.random.default_rng(5), (0.5, 1.0), (3 / 4, 4 / 3))
    left, top, right, bottom = box
    part = T.functional.resized_crop(
        image, top, left, bottom - top, right - left, [16, 16], T.InterpolationMode.BICUBIC
    )
    expected = T.Normalize(CLIP_MEAN, CLIP_STD)(T.ToTensor()(part.convert("RGB"))).numpy()
    found = Preprocess(16).random_crop(image, np.random.default_rng(5), (0.5, 1.0))
    assert np.array_equal(Preprocess(16).normalise_image(found), expected)
