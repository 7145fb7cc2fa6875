from collections import Counter

import emoji
import pytest

from nnclip.drawing.captions import name_of
from nnclip.drawing.catalogue import shapes, things, workers
from nnclip.drawing.glyphs import emoji_picture
from nnclip.drawing.language import BACKGROUNDS
from nnclip.drawing.languages import LANGUAGES


def every_glyph():
    glyphs = [glyph for thing in things() for glyph in thing.glyphs]
    return [*glyphs, *(worker.glyph for worker in workers())]


def test_no_emoji_shows_two_things():
    counts = Counter(every_glyph())
    assert [glyph for glyph, count in counts.items() if count > 1] == []


def test_every_emoji_is_one_glyph_of_the_font():
    missing = emoji_picture("\U000fffff").tobytes()
    for glyph in every_glyph():
        assert min(emoji_picture(glyph).size) > 10
        assert emoji_picture(glyph).tobytes() != missing, glyph


def test_all_languages_of_the_emoji_package_are_there():
    assert set(LANGUAGES) == set(emoji.LANGUAGES)


@pytest.mark.parametrize("code", list(LANGUAGES))
def test_no_two_objects_share_a_name(code):
    counts = Counter(name_of(what, code) for what in (*things(), *workers(), *shapes()))
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("code", list(LANGUAGES))
def test_no_two_backgrounds_share_a_phrase(code):
    assert len({LANGUAGES[code].place(name) for name in BACKGROUNDS}) == len(BACKGROUNDS)
