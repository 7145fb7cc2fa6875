import logging

import pytest

from tests.lazy import lazy

style = lazy("nnclip.evaluate.figures.style")


@pytest.fixture
def fresh():
    from nnclip.evaluate.figures.style import _warn_of_boxes

    _warn_of_boxes.cache_clear()
    yield
    _warn_of_boxes.cache_clear()


def written(tmp_path, text):
    with style.styled():
        figure = style.new_figure(3, 1)
        figure.suptitle(style.label(text, 40))
    return style.save(figure, tmp_path, "title")


def test_arabic_letters_are_joined_and_in_the_order_of_the_page():
    assert (
        style.label("نجمة حمراء", 40) == "ﺀﺍﺮﻤﺣ ﺔﻤﺠﻧ"
    )  # presentation forms, the last letter first
    assert style.label("قطة", 2).startswith("…")
    assert style.label("a red star, звезда, 星", 40) == "a red star, звезда, 星"


def test_a_label_is_cut():
    assert style.label("an image of a cat", 10) == "an image…"
    assert style.label("an image", 9) == "an image"


def test_letters_without_a_font_are_told_once(tmp_path, caplog, fresh):
    for _ in range(2):
        assert written(tmp_path, "\U0001fae8 rare").stat().st_size > 1000
    assert caplog.text.count("drawn as boxes") == 1 and "fonts-noto-cjk" in caplog.text


def test_letters_with_a_font_are_no_news(tmp_path, caplog, fresh):
    caplog.set_level(logging.WARNING)
    written(tmp_path, "звезда نجمة étoile")
    assert caplog.text == ""
