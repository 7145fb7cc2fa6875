from random import Random

import numpy as np
import pytest
from PIL import ImageFont, features

from nnclip.drawing import compose, draw_pair
from nnclip.drawing.backgrounds import PAINTERS
from nnclip.drawing.brushes import PALETTE
from nnclip.drawing.catalogue import SHAPES
from nnclip.drawing.glyphs import emoji_font, emoji_picture, shape_mask, shape_picture
from nnclip.drawing.language import BACKGROUNDS
from nnclip.errors import DataError


def test_a_picture_depends_on_split_seed_and_index_alone():
    first = draw_pair(5, 17)
    for other in range(30):  # fills the caches with other things
        draw_pair(6, other, size=32)
    again = draw_pair(5, 17)
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1:] == again[1:]
    assert draw_pair(5, 18)[0].tobytes() != first[0].tobytes()
    assert draw_pair(6, 17)[0].tobytes() != first[0].tobytes()


def test_a_scene_is_the_same_at_every_size():
    for index in range(12):
        large = draw_pair(1, index, size=256)[0].reduce(4)
        small = draw_pair(1, index, size=64)[0]
        difference = np.asarray(large, dtype=float) - np.asarray(small, dtype=float)
        assert np.abs(difference).mean() < 14, index


def test_every_background_is_painted_and_no_two_look_alike():
    assert tuple(PAINTERS) == BACKGROUNDS
    drawn = {}
    for name, painter in PAINTERS.items():
        picture = painter(compose("train", 0, 0).random(name), 64)
        assert picture.size == (64, 64) and picture.mode == "RGB"
        drawn[picture.tobytes()] = name
    assert len(drawn) == len(BACKGROUNDS)


@pytest.mark.parametrize("colour", list(PALETTE))
def test_a_plain_background_is_nearest_to_its_own_colour(colour):
    for index in range(20):
        picture = PAINTERS[colour](compose("train", 0, index).random("ground"), 32)
        mean = np.asarray(picture, dtype=float).mean((0, 1))
        nearest = min(PALETTE, key=lambda name: np.linalg.norm(mean - PALETTE[name]))
        assert nearest == colour


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_fills_a_fair_part_of_its_square(shape):
    share = np.asarray(shape_mask(shape, 48), dtype=float).mean() / 255
    assert 0.2 < share < 0.8


def test_a_form_without_a_name_fills_a_fair_part_of_its_square_and_is_another_each_time():
    masks = [
        np.asarray(shape_picture(Random(seed), "red", "", 48)[0].getchannel("A"), dtype=float) / 255
        for seed in range(40)
    ]
    assert all(mask.shape == (48, 48) and 0.08 < mask.mean() < 0.85 for mask in masks)
    assert len({mask.tobytes() for mask in masks}) == len(masks)
    for mask in masks:  # it reaches the edges of its square one way or the other
        reach = [np.flatnonzero(mask.max(axis) > 0.5) for axis in (0, 1)]
        assert max(rows[-1] - rows[0] for rows in reach) >= 45


def test_an_emoji_has_no_dark_edge():
    """A full moon is light all over; blended into black its rim would not be."""
    rgba = np.asarray(emoji_picture("🌕"), dtype=float)
    rim = (rgba[..., 3] > 40) & (rgba[..., 3] < 215)
    assert rim.sum() > 50
    assert rgba[rim][:, :3].max(-1).min() > 120


def test_a_pillow_without_raqm_is_refused_with_the_packages(monkeypatch):
    monkeypatch.setattr(features, "check", lambda feature: False)
    emoji_font.cache_clear()
    with pytest.raises(DataError, match="fonts-noto-color-emoji libfribidi0"):
        emoji_font()


def test_a_machine_without_the_font_is_told_the_packages(monkeypatch):
    def absent(*args, **kwargs):
        raise OSError("cannot open resource")

    monkeypatch.setattr(ImageFont, "truetype", absent)
    emoji_font.cache_clear()
    with pytest.raises(DataError, match="fonts-noto-color-emoji libfribidi0"):
        emoji_font()


def test_a_sequence_that_the_font_lacks_is_named():
    with pytest.raises(DataError, match="no single glyph"):
        emoji_picture("🐈🐕")
