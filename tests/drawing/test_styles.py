"""Loose styles: how others render emoji, one of them never in training, under bare names."""

import math

import numpy as np
import pytest

from nnclip.drawing import compose, describe, paint
from nnclip.drawing.catalogue import emoji_name
from nnclip.drawing.contents import LOOSE, Recipe
from nnclip.drawing.glyphs import mean_colour
from nnclip.drawing.painting import paint_masked
from nnclip.drawing.splits import STYLED
from nnclip.drawing.styles import EFFECTS, FAR, HELD_OUT_STYLE, TRAINED

HALF = Recipe(alike=0.5, loose=0.5)


def test_without_loose_styles_nothing_changes():
    usual = [compose("train", 5, i) for i in range(400)]
    mixed = [compose("train", 5, i, HALF) for i in range(400)]
    pairs = zip(usual, mixed, strict=True)
    same = [a == b for a, b in pairs]
    assert same == [not scene.style for scene in mixed]
    share = np.mean([bool(scene.style) for scene in mixed if scene.kind in LOOSE])
    assert 0.35 < share < 0.65


def test_training_never_shows_the_style_that_is_held_out():
    styles = {compose("train", 6, i, HALF).style for i in range(600)}
    assert styles == {"", *TRAINED} and HELD_OUT_STYLE not in TRAINED
    scenes = [compose(STYLED, 6, i) for i in range(800)]
    assert {scene.style for scene in scenes} == {HELD_OUT_STYLE}
    assert len({scene.items[0].glyph for scene in scenes[:600]}) == 600


def test_the_eight_of_a_group_have_one_style():
    groups = [
        {compose("train", 7, 8 * g + i, Recipe(alike=1, loose=0.5)).style for i in range(8)}
        for g in range(60)
    ]
    assert {len(styles) for styles in groups} == {1}


@pytest.mark.parametrize("style", EFFECTS)
def test_every_effect_gives_the_same_image_twice_and_leaves_the_object_to_be_seen(style):
    scenes = [compose("train", 8, i, Recipe({"scene": 1}, 0, 1)) for i in range(120)]
    scenes = [scene for scene in scenes if scene.style == style][:4] or [compose(STYLED, 8, 0)]
    for scene in scenes:
        image, shown = paint_masked(scene, 72)
        assert image.size == (72, 72) and image.mode == "RGB"
        assert np.array_equal(image, paint(scene, 72))
        assert 0.02 < (shown == 1).mean() < 0.99


def test_the_ground_is_one_colour_that_is_not_the_objects():
    for i in range(40):
        scene = compose("train", 9, i, Recipe({"scene": 1}, 0, 1))
        if scene.style != "plain":
            continue
        image, shown = paint_masked(scene, 72)
        colours = np.asarray(image)[shown == 0]
        ground = np.median(colours, 0)
        assert math.dist(ground, mean_colour(scene.items[0].glyph)) > FAR
        assert (np.abs(colours - ground).max(1) < 3).mean() > 0.75  # but for smooth edges


@pytest.mark.parametrize("code", ["en", "de", "ja"])
def test_more_than_half_of_the_captions_are_unicodes_name_of_the_emoji(code):
    scenes = [compose(STYLED, 10, i) for i in range(300)]
    bare = [
        describe(scene, (code,))[0] == emoji_name(scene.items[0].glyph, code) for scene in scenes
    ]
    assert 0.5 < np.mean(bare) < 0.9  # a language without articles says it so anyhow
