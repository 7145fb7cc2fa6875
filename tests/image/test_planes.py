"""The two halves of preprocessing are the whole, to the bit."""

from pathlib import Path

import numpy as np
import pytest

from nnclip.errors import DataError
from nnclip.image import OPENAI, Preprocess, open_image, picture_files

GOLDENS = np.load(Path(__file__).parent / "goldens.npz")
NAMES = sorted(name.removesuffix(".file") for name in GOLDENS.files if name.endswith(".file"))
PREPARE = Preprocess(9, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))


@pytest.mark.parametrize("name", NAMES)
def test_the_halves_give_what_preprocess_gives(name):
    content = GOLDENS[f"{name}.file"].tobytes()
    bytes_N3RR = np.stack([PREPARE.planes(content, OPENAI)])
    assert bytes_N3RR.dtype == np.uint8
    whole_3RR = PREPARE(open_image(content, as_seen=False))
    np.testing.assert_array_equal(PREPARE.normalise(bytes_N3RR)[0], whole_3RR)


def test_bytes_that_are_no_picture_are_refused():
    with pytest.raises(DataError, match="not an image"):
        PREPARE.planes(b"no image")


def test_pictures_are_listed_in_order_whatever_the_case_of_their_ending(tmp_path):
    for name in ("b.JPG", "a/z.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert picture_files(tmp_path) == [tmp_path / "a/z.png", tmp_path / "b.JPG"]
