"""Groups of images, their names, and the page that shows them on a plane."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from nnclip.cli import main
from nnclip.drawing import compose, paint
from nnclip.embeddings import unit
from nnclip.errors import ConfigError
from nnclip.search.clusters import clusters, usual_count, words_of
from nnclip.search.layout import layout
from tests.lazy import lazy

playwright = lazy("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
WORDS = ["dog", "ball", "tree", "sea"]


@pytest.fixture
def groups():
    """Three bundles of rows in 16 dimensions, of 30, 20 and 10, mixed; and which is which."""
    rng = np.random.default_rng(4)
    of = rng.permutation(np.repeat([0, 1, 2], [30, 20, 10]))
    rows = np.eye(16)[of] + 0.08 * rng.normal(size=(60, 16))
    return unit(rows).astype(np.float32), of


def test_bundles_are_found_and_sorted_by_size(groups):
    rows, of = groups
    found = clusters([rows[:25], rows[25:]], np.arange(60), 3)
    np.testing.assert_array_equal(found.of, of)
    assert found.sizes.tolist() == [30, 20, 10]
    np.testing.assert_allclose(np.linalg.norm(found.centres, axis=1), 1, atol=1e-5)
    best = found.typical(2, 1)[0]
    assert of[best] == 2
    cosines = rows[of == 2] @ found.centres[2]
    assert rows[best] @ found.centres[2] == pytest.approx(cosines.max())
    again = clusters([rows], np.arange(60), 3)
    np.testing.assert_array_equal(again.centres, found.centres)


def test_rows_that_do_not_count_are_in_no_group(groups):
    rows, of = groups
    alive = np.flatnonzero(of != 1)
    found = clusters([rows], alive, 2)
    np.testing.assert_array_equal(found.rows, alive)
    np.testing.assert_array_equal(found.of, (of[alive] == 2).astype(int))


@pytest.mark.parametrize("count", [0, 61])
def test_a_number_of_groups_that_cannot_be_is_refused(groups, count):
    with pytest.raises(ConfigError, match="expected 1 to those"):
        clusters([groups[0]], np.arange(60), count)
    assert [usual_count(rows) for rows in (1, 2, 200, 10**6)] == [1, 1, 10, 24]


def test_copies_can_be_divided():
    found = clusters([np.ones((5, 4), np.float32) / 2], np.arange(5), 3)
    assert found.sizes.sum() == 5


def test_words_are_those_that_fit_one_group_alone():
    centres = np.eye(4)[:2].astype("f4")
    fit_both, fit_first, fit_second = [0.7, 0.7, 0.14, 0], [0.6, 0, 0.8, 0], [0, 0.5, 0, 0.86]
    words = np.array([fit_both, fit_first, fit_second], "f4")
    assert words_of(centres, words, ["both", "first", "second"], 1) == [["first"], ["second"]]
    assert words_of(centres[:1], words, ["both", "first", "second"], 2) == [["both", "first"]]


@pytest.mark.parametrize("way", ["pca", "tsne"])
def test_what_is_alike_lies_together(groups, way):
    rows, of = groups
    places = layout(rows, way)
    assert places.shape == (60, 2) and places.min() == 0 and places.max() == 1
    far = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(60)
    assert (of[far.argmin(1)] == of).all()
    np.testing.assert_array_equal(layout(rows, way), places)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images_have_a_place(count):
    places = layout(np.eye(4, dtype="f4")[:count], "tsne")
    assert places.shape == (count, 2) and np.isfinite(places).all()


@pytest.fixture(scope="module")
def collection(small_h5, tmp_path_factory):
    folder = tmp_path_factory.mktemp("album")
    for index in range(20):
        name = "a <b> & 'c'.png" if index == 7 else f"{index:02d}.png"
        paint(compose("train", 6, index), 64).save(folder / name)
    store = folder.with_name(f"{folder.name}-EMB")
    flags = ["-m", str(small_h5), "--precision", "fp32", "--workers", "0"]
    assert main(["embed", str(folder), "-o", str(store), *flags]) == 0
    return folder, store


@pytest.fixture(scope="module")
def flags(small_h5, tmp_path_factory):
    words = tmp_path_factory.mktemp("words") / "words.txt"
    words.write_text("\n".join([*WORDS, "", WORDS[0]]))
    return ["-m", str(small_h5), "--precision", "fp32", "--words", str(words)]


def test_the_command_lists_groups(collection, flags, capsys):
    _, store = collection
    assert main(["cluster", str(store), "-k", "4", "--json", "--members", *flags]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told) == 4 and sum(group["images"] for group in told) == 20
    for group in told:
        assert len(group["words"]) == 3 and set(group["words"]) <= set(WORDS)
        assert set(group["typical"]) <= set(group["members"])
        assert len(group["members"]) == group["images"]
    assert main(["cluster", str(store), *flags]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.fixture(scope="module")
def page(collection, flags, tmp_path_factory):
    path = tmp_path_factory.mktemp("map") / "map.html"
    folder, store = collection
    (folder / "03.png").unlink()
    assert main(["map", str(store), "-o", str(path), "--most", "15", *flags]) == 0
    return path


def test_the_map_needs_no_other_file(page):
    html = page.read_text()
    data = json.loads(re.search(r"const data = (.*);\n", html)[1])
    assert len(data["points"]) == len(data["names"]) == len(data["files"]) == 15
    assert sum(cluster["size"] for cluster in data["clusters"]) == 20
    assert all(sheet.startswith("data:image/jpeg;base64,") for sheet in data["sheets"])
    assert not re.search(r"https?://", html) and "<b>" not in html


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: make system")
@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 390)])
def test_the_map_can_be_used(page, scheme, width):
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        screen = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        errors = []
        screen.on("pageerror", lambda error: errors.append(error))
        screen.goto(Path(page).as_uri())
        assert screen.locator("#legend button").count() == 3
        assert screen.evaluate("document.documentElement.scrollWidth") <= width
        x, y = screen.evaluate("screen(data.points[0])")
        screen.mouse.click(x, y)
        assert screen.locator("#card").is_visible()
        assert screen.locator("#card a").inner_text()
        before = screen.evaluate("scale")
        screen.mouse.move(x, y)
        screen.mouse.wheel(0, -400)
        screen.wait_for_function(f"scale > {before}")
        moved = screen.evaluate("screen(data.points[0])")
        assert abs(moved[0] - x) < 1 and abs(moved[1] - y) < 1  # zooms to where the pointer is
        screen.locator("#legend button").first.click()
        assert screen.locator("#legend button[aria-pressed=true]").count() == 1
        screen.locator("#dots").click()
        screen.locator("#all").click()
        assert screen.evaluate("scale") == 1
        browser.close()
    assert not errors


@pytest.mark.parametrize(
    "command, said",
    [
        (["map", "EMB", "-o", "map.png"], "found .png, expected .html"),
        (["map", "EMB", "-o", "map.html", "--most", "0"], "--most 0: expected at least 1"),
        (["cluster", "EMB", "--words", "no.txt"], "--words no.txt: cannot be read"),
        (["cluster", "EMB", "-k", "0"], "-k 0: expected at least 1"),
        (["cluster", "EMB"], "EMB"),
    ],
)
def test_bad_input_gets_a_sentence(command, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    assert said in capsys.readouterr().err
