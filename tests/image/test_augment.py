import numpy as np
import pytest

from nnclip.errors import DataError
from nnclip.image import Preprocess
from nnclip.image.geometry import random_crop_box


def test_the_same_state_gives_the_same_crop(picture):
    image = picture("RGBA", (50, 40))
    first, again, other = (
        Preprocess(16).random_crop(image, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert (first.mode, first.size) == ("RGB", (16, 16))
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_crops_have_the_area_and_the_shape_asked_for():
    rng = np.random.default_rng(0)
    boxes = np.array([random_crop_box((400, 300), rng, (0.5, 0.8), (0.9, 1.2)) for _ in range(500)])
    left, top, right, bottom = boxes.T
    assert left.min() >= 0 and top.min() >= 0 and right.max() <= 400 and bottom.max() <= 300
    share = (right - left) * (bottom - top) / (400 * 300)
    shape = (right - left) / (bottom - top)
    assert 0.495 < share.min() < 0.52 and 0.78 < share.max() < 0.805
    assert 0.89 < shape.min() < 0.92 and 1.17 < shape.max() < 1.21
    assert len(set(left)) > 50 and len(set(top)) > 20


@pytest.mark.parametrize(
    ("size", "box"),
    [((1000, 10), (493, 0, 506, 10)), ((10, 1000), (0, 493, 10, 506)), ((1, 1), None)],
)
def test_a_picture_too_long_for_the_shape_gives_its_middle(size, box):
    found = random_crop_box(size, np.random.default_rng(0), (0.9, 1.0), (3 / 4, 4 / 3))
    assert found == (box or (0, 0, 1, 1))


def test_what_is_no_picture_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="expected PIL"):
        Preprocess(8).random_crop("picture.png", rng)
