import dataclasses
import math

import numpy as np
import pytest
from PIL import Image

from nnclip.graph.losses import SIGMOID, SOFTMAX, Scorer
from nnclip.image.heat import heat
from nnclip.page import rendering
from nnclip.service.answers import Answer
from nnclip.service.images import ImageFile, open_checked

EVIL = '<img src=x onerror="alert(1)">'


def answer(cosines, texts):
    scorer = Scorer(SOFTMAX, {"logit_scale": math.log(10)})
    return Answer(list(texts), list(texts), np.array(cosines, np.float32), scorer, 0.004)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGBA", (400, 200), "teal").save(path)
    return ImageFile.find(path)


def test_bars_are_sorted_and_sum_to_one():
    html = rendering.bars(answer([[0.1, 0.3, 0.2]], "abc"))
    assert html.index(">b<") < html.index(">c<") < html.index(">a<")
    assert "66.5 %" in html and "24.5 %" in html and "9.0 %" in html
    assert "4 ms" in html


def test_bars_choose_a_map_where_there_are_maps(picture):
    one = answer([[0.1, 0.3, 0.2]], ["a", EVIL, "c"])
    order = rendering.best_first(one)
    assert order.tolist() == [1, 2, 0]
    html = rendering.bars(one, chosen=True)
    assert html.count("<button") == html.count("</button>") == 3
    assert html.count('aria-pressed="true"') == 1 and "<button" not in rendering.bars(one)
    maps = [heat(np.eye(4, dtype=np.float32), 16) for _ in order]
    found = rendering.where(open_checked(picture), maps, [one.categories[i] for i in order])
    assert [f'data-place="{i}"' in found for i in range(4)] == [True, True, True, False]
    assert found.count(" hidden>") == 2 and "&lt;img src=x" in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a dog", "One category alone"),
        ("a dog, a cat", "put each on a line of its own"),
        ("犬、猫", "put each on a line of its own"),
    ],
)
def test_one_category_gets_a_remark_and_no_percentage(text, said, picture):
    one = answer([[0.213]], [text])
    for html in (rendering.bars(one), rendering.strip(one, [picture])):
        assert said in html and "100 %" not in html.replace("have 100 %", "") and "0.213" in html
        assert "100.0 %" not in html
    two = answer([[0.2, 0.1]], ["a dog, black", "a cat"])
    assert "One category" not in rendering.bars(two) and "own" not in rendering.bars(two)


def test_a_category_apart_keeps_its_percentage_with_the_sigmoid_loss():
    scorer = Scorer(SIGMOID, {"logit_scale": math.log(10), "logit_bias": -2.0})
    one = Answer(["a dog"], ["a dog"], np.array([[0.3]], np.float32), scorer, 0.01)
    assert "73.1 %" in rendering.bars(one) and "One category" not in rendering.bars(one)


def test_what_was_left_out_is_named():
    one = dataclasses.replace(
        answer([[0.1, 0.2]], "ab"), left_out={EVIL * 9: 402, "c" * 50: 99}, most=77
    )
    html = rendering.bars(one)
    assert "at most 77 tokens" in html and "(402)" in html and "<img src=x" not in html


def test_a_remark_on_the_model_stands_beside_the_answer(picture):
    one = dataclasses.replace(answer([[0.1, 0.2]], "ab"), remark=EVIL)
    for html in (rendering.bars(one), rendering.strip(one, [picture])):
        assert "&lt;img src=x" in html and 'class="remark"' in html
    assert "remark" not in rendering.bars(answer([[0.1, 0.2]], "ab"))


def test_only_the_best_of_many_are_listed():
    texts = [f"text {i}" for i in range(1000)]
    html = rendering.bars(answer([np.zeros(1000)], texts))
    assert html.count("<li") == 24
    assert "976 more, each 0.1 % at most" in html


def test_texts_of_visitors_stay_texts(picture):
    one = answer([[0.1]], [EVIL])
    table = rendering.heat_table([rendering.thumbnail(picture)], [EVIL], [EVIL], one.cosines)
    for html in (
        rendering.bars(one, EVIL),
        rendering.strip(one, [picture]),
        rendering.notice(EVIL, "problem"),
        table,
    ):
        assert "<img src=x" not in html
        assert "&lt;img src=x" in html


def test_the_strip_shows_the_strongest_columns(picture):
    texts = [f"text {i}" for i in range(20)]
    cosines = np.tile(np.linspace(0, 1, 20), (3, 1))
    html = rendering.strip(answer(cosines, texts), [picture] * 3)
    assert html.count("<tr>") == 4
    assert html.count('scope="col"') == 12
    assert ">text 8<" in html and ">text 7<" not in html


def test_a_thumbnail_is_small(picture):
    assert rendering.thumbnail(picture).startswith("data:image/webp;base64,")
    assert len(rendering.thumbnail(picture)) < 3000


def test_a_model_says_which_languages_it_knows():
    assert "Deutsch" in rendering.languages(("en", "de"))
    assert "&lt;b&gt;" in rendering.languages(("<b>",))
    assert rendering.languages(()) == ""
