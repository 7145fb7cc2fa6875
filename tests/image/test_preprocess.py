from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnclip.errors import ConfigError, DataError
from nnclip.image import CLIP_MEAN, CLIP_STD, Preprocess, open_image

GOLDENS = np.load(Path(__file__).parent / "goldens.npz")
NAMES = sorted(name.removesuffix(".file") for name in GOLDENS.files if name.endswith(".file"))


def golden_file(name: str) -> bytes:
    return GOLDENS[f"{name}.file"].tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_goldens_of_torchvision(name):
    x_3RR = Preprocess(7)(open_image(golden_file(name), as_seen=False))
    assert x_3RR.dtype == np.float32
    np.testing.assert_allclose(x_3RR, GOLDENS[f"{name}.expected"], rtol=0, atol=1e-6)


def test_the_goldens_hold_every_kind():
    assert len(NAMES) == 17


def test_the_crop_is_central():
    columns = np.zeros((10, 30, 3), np.uint8)
    columns[:, 10:20] = 255
    white = Preprocess(10)(Image.fromarray(columns))
    brightest = (1 - np.array(CLIP_MEAN)) / np.array(CLIP_STD)
    np.testing.assert_allclose(white[:, 5, :], np.tile(brightest[:, None], 10), atol=1e-6)


def test_one_grey_level_by_hand():
    image = Image.new("RGB", (4, 6), (0, 128, 255))
    x_3RR = Preprocess(2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 1.0))(image)
    expected = [-1.0, (128 / 255 - 0.5) / 0.25, 0.5]
    np.testing.assert_allclose(x_3RR[:, 0, 0], expected, rtol=0, atol=1e-6)


def test_nothing_is_written_into_the_picture(picture, mode):
    image = picture(mode, (9, 14))
    before = image.tobytes()
    Preprocess(5)(image)
    assert (image.mode, image.size, image.tobytes()) == (mode, (9, 14), before)


def test_normalise_fills_what_is_given():
    out = np.full((3, 2, 3), np.nan, np.float32)
    assert Preprocess().normalise_image(Image.new("L", (3, 2), 255), out) is out
    assert np.allclose(out[0], (1 - CLIP_MEAN[0]) / CLIP_STD[0])


@pytest.mark.parametrize("resolution", [0, -3])
def test_a_resolution_below_one_is_refused(resolution):
    with pytest.raises(ConfigError, match="expected a whole number of at least 1"):
        Preprocess(resolution)


def test_what_is_no_picture_is_refused():
    with pytest.raises(DataError, match="an image is ndarray, expected PIL"):
        Preprocess()(np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(DataError, match="0 x 3 pixels"):
        Preprocess()(Image.new("RGB", (0, 3)))


def test_a_thread_of_a_picture_does_not_fill_the_memory():
    with pytest.raises(DataError, match="1 x 60000 pixels would have 224 x 13440000"):
        Preprocess()(Image.new("L", (1, 60_000)))
