"""One query object, filters, and the faces that ask by them."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from nnclip.cli import main
from nnclip.errors import ConfigError, DataError
from nnclip.search import ImageSearch
from nnclip.search.exact import standing
from nnclip.search.filters import read_condition, read_filters
from nnclip.search.query import AGAINST, Query, Term, read_query, read_terms
from nnclip.search.rows import unit_rows
from nnclip.search.store import FolderStore

from .conftest import COLOURS, draw, embedded, unit_vectors, vector_collection

MODEL = ["--precision", "fp32"]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("a beach", [("a beach", 1)]),
        ("beach -people", [("beach", 1), ("people", AGAINST)]),
        (
            "beach +a warm sunset -many people",
            [("beach", 1), ("a warm sunset", 1), ("many people", AGAINST)],
        ),
        ("beach:2 -people:0.3", [("beach", 2), ("people", -0.3)]),
        ("+sea -dogs:-0.2", [("sea", 1), ("dogs", -0.2)]),
        ("a t-shirt - a cap, -20 degrees", [("a t-shirt - a cap, -20 degrees", 1)]),
        ("beach:1 sunset:0.5 people:-0.4", [("beach", 1), ("sunset", 0.5), ("people", -0.4)]),
        ("a red car:2", [("a red car", 2)]),
        ("snow:.5 a dog", [("snow", 0.5), ("a dog", 1)]),
        ("a picture in 16:9", [("a picture in 16:9", 1)]),
        ("a clock at 10:30", [("a clock at 10:30", 1)]),
        ("Star Wars: 5", [("Star Wars: 5", 1)]),
        ("http://host:80/x", [("http://host:80/x", 1)]),
        ("海辺:1 人:-0.5", [("海辺", 1), ("人", -0.5)]),
    ],
)
def test_weights_stand_behind_colons(text, terms):
    assert [(term.value, term.weight) for term in read_terms(text)] == terms


def test_a_query_is_a_sum(rng):
    a, b, c = unit_vectors(rng, 3)
    query = read_query("beach:1 sea:0.5", not_=["people", "dogs:0.2"], images=["x.jpg"])
    assert [term.weight for term in query.terms] == [1, 0.5, AGAINST, -0.2, 1]
    found = query.combined({"text": [a, b, c, a], "image": [b]})
    expected = a + 0.5 * b + AGAINST * c - 0.2 * a + b
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)
    assert hash(read_query("a", where={"camera": "x"})) == hash(
        read_query("a", where={"camera": "x"})
    )


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({}, DataError, "empty query"),
        ({"text": " "}, DataError, "empty query"),
        ({"not_": "people"}, DataError, "also what they should show"),
        ({"text": "a:0"}, DataError, "a number from -100 to 100 that is not 0"),
        ({"text": "a", "k": 0}, ConfigError, "expected at least 1"),
        ({"text": "a", "k": 1.5}, ConfigError, "expected at least 1"),
        ({"text": "a", "min_cosine": 2}, ConfigError, "expected -1 to 1"),
        ({"text": "a", "where": {"after": "tomorrow"}}, DataError, "^after: found 'tomorrow'"),
        ({"text": "a", "where": {"near": "95,3"}}, DataError, "^near: .*expected degrees"),
        ({"text": "a", "where": {"width": {"above": 3}}}, DataError, "^width: found 'above'"),
        ({"text": "a", "where": {"width": [[]]}}, DataError, "^width: .*expected a text, a number"),
        ({"text": "a", "where": {"under": 3}}, DataError, "^under: found 3, expected a text"),
    ],
)
def test_what_cannot_be_asked_is_told(given, error, said):
    with pytest.raises(error, match=said):
        read_query(**given)


def test_terms_that_cancel_out_are_told():
    query = Query((Term("text", "a"), Term("text", "b", -1)))
    with pytest.raises(DataError, match="cancel out"):
        query.combined({"text": [np.eye(4, dtype=np.float32)[0]] * 2})


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("width>=3000", {"width": {"min": 3000}}),
        ("latitude <= -1.5", {"latitude": {"max": -1.5}}),
        ("camera=Canon EOS 5D", {"camera": "Canon EOS 5D"}),
        ("image~be=ach", {"image": {"contains": "be=ach"}}),
        ("taken>=2019", {"taken": {"min": "2019"}}),
    ],
)
def test_conditions(text, filters):
    assert read_condition(text) == filters and read_filters(filters)


def test_arrays_are_filtered_too(model, rng):
    records = [{"image": f"/p/{n % 2}/{n}.png", "year": 2000 + n, "tag": None} for n in range(40)]
    found = ImageSearch(rng.normal(size=(40, 32)), records, model)
    hits = found.search("a dog", 99, where={"under": "/p/1", "year": {"min": 2010, "max": 2019}})
    assert sorted(hit["image"] for hit in hits) == [f"/p/1/{n}.png" for n in range(11, 20, 2)]
    assert sum(hit["prob"] for hit in hits) == pytest.approx(1, abs=1e-6)
    with pytest.raises(DataError, match="no such field in the records"):
        found.search("a dog", where={"colour": "red"})
    with pytest.raises(DataError, match="year: found 'x' for a field of int64"):
        found.search("a dog", where={"year": {"min": "x"}})


def test_percentiles_are_of_all_images(model, rng):
    vectors = unit_rows(rng.normal(size=(50, 32)))
    found = ImageSearch(vectors, [{"image": f"{n}", "n": n} for n in range(50)], model)
    query = vectors[0] + 0.1
    cosines = vectors @ (query / np.linalg.norm(query))
    for where in (None, {"n": {"min": 20}}):
        for hit in found.nearest(query, 7, where=where):
            below = (cosines < hit["cosine"] - 1e-7).sum()
            assert hit["percentile"] == pytest.approx(100 * below / 49)
    assert ImageSearch(vectors[:1], ["a"], model).nearest(query)[0]["percentile"] is None
    drawn = np.arange(10, dtype=np.float32)
    assert standing(np.float32([4.5]), drawn, images=1000)[0] == 50


@pytest.mark.parametrize("kind", ["exact", "ivf", "hnsw"])
@pytest.mark.parametrize("looked_at", [0, 10**6], ids=["by the index", "each"])
def test_filters_hold_whatever_the_index(tmp_path, rng, kind, looked_at, monkeypatch):
    from nnclip.search import approximate
    from nnclip.search.index import build_index
    from nnclip.search.log import Entry

    monkeypatch.setattr(approximate, "LOOKED_AT", looked_at)
    rows = unit_vectors(rng, 600)
    folder = vector_collection(tmp_path / "EMB", [rows[:300], rows[300:600]])
    build_index(FolderStore(folder), kind, 0.9)
    store = FolderStore(folder)
    store.append(Entry([{"image": "/pictures/new"}], unit_vectors(rng, 1), [3, 4]))
    left_out = np.flatnonzero(np.arange(601) % 3 > 0)
    for query in unit_vectors(rng, 5):
        found = store.nearest(query, 10, 5.0, left_out)
        exact = FolderStore(folder, exact=True).nearest(query, 10, 5.0, left_out)
        assert not set(found.rows) & {*left_out, 3, 4} and len(found.rows) == 10
        assert len(np.intersect1d(found.rows, exact.rows)) >= 8
        np.testing.assert_allclose(found.log_total, exact.log_total, atol=0.2)
        assert np.abs(found.percentiles - exact.percentiles).max() < 12


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Ten images of two cameras in two folders, five of them with dates and places."""
    folder = tmp_path_factory.mktemp("library") / "photos"
    for number, colour in enumerate(COLOURS):
        path = draw(folder / f"{number % 2}" / f"{colour}.png", colour, (60 + number, 50))
        if number < 5:
            exif = Image.Exif()
            exif[ExifTags.Base.Make] = ["Canon", "SONY"][number % 2]
            exif.get_ifd(ExifTags.IFD.Exif)[0x9003] = f"201{number}:06:01 12:00:00"
            gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
            gps.update({1: "N", 2: (35.0 + number, 0.0, 0.0), 3: "E", 4: (139.0, 0.0, 0.0)})
            Image.open(path).save(path.with_suffix(".jpg"), exif=exif)
            path.unlink()
    return folder


@pytest.fixture(scope="module")
def folder(library, model):
    return embedded(library.parent / "EMB", model, library)


@pytest.fixture
def asked(folder, capsys, monkeypatch, library):
    monkeypatch.chdir(library.parent)

    def ask(*words, status=0):
        assert main(["search", *map(str, words), *MODEL]) == status
        return capsys.readouterr()

    return ask


def names(out):
    return {Path(line.split("  ")[-1]).stem for line in out.splitlines()}


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (["--under", "photos/1"], {"green", "yellow", "black", "purple", "pink"}),
        (["--after", "2011", "--before", "2013-06-01"], {"green", "blue"}),
        (["--camera", "canon"], {"red", "blue", "white"}),
        (["--camera", "canon", "--camera", "sony"], {"red", "green", "blue", "yellow", "white"}),
        (["--near", "36.5,139,60"], {"green", "blue"}),
        (["--where", "width>=68"], {"brown", "pink"}),
        (["--where", "image~/0/", "--where", "width<=62"], {"red", "blue"}),
    ],
)
def test_the_flags_choose_images(asked, flags, found):
    assert names(asked("a dog", *flags).out) == found


def test_what_says_nothing_is_told(asked):
    said = asked("a dog", "--after", "2000").err
    assert "5 of 10 images say nothing about `taken`, and are left out" in said
    assert "none of the 10 images passes" in asked("a", "--camera", "Leica", status=1).err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["a", "--after", "soon"], "--after: found 'soon', expected a date"),
        (["a", "--near", "1"], "--near: found '1', expected degrees"),
        (["a", "--where", "width"], "--where 'width': found no condition"),
        (["a", "--where", "colour=3"], "colour: found no such field"),
        (["a", "-k", "0"], "-k 0: expected at least 1"),
        (["a", "--min-cosine", "3"], "--min-cosine 3.0: expected -1 to 1"),
        (["--not", "a"], "expected also what they should show"),
        (["--like", "none.jpg"], "none.jpg: found no such image in the collection"),
        (["a dog " * 200], "your text has 402 tokens, the model reads at most"),
    ],
)
def test_errors_use_the_words_of_the_command_line(asked, flags, said):
    assert re.search(re.escape(said).replace("402", "[0-9]+"), asked(*flags, status=2).err)


def test_long_texts_are_cut_when_asked(asked):
    captured = asked("a dog " * 200, "--truncate", "-k", 1)
    assert "tokens, cut to" in captured.err and len(captured.out.splitlines()) == 1


def test_text_counts_with_images_and_weights(asked, model, library, folder):
    found = ImageSearch.open(folder, model)
    image = library / "0" / "red.jpg"
    hits = json.loads(asked("a dog:0.5", "--image", f"{image}:2", "--not", "sky", "--json").out)
    text, sky = unit_rows(model.encode_text(model.tokenize(["a dog", "sky"])))
    pixels = unit_rows(model.encode_image(model.preprocess_image(image)))[0]
    expected = found.nearest(0.5 * text + 2 * pixels + AGAINST * sky)
    assert [hit["image"] for hit in hits] == [hit["image"] for hit in expected]
    np.testing.assert_allclose(
        [hit["cosine"] for hit in hits], [hit["cosine"] for hit in expected], atol=1e-5
    )
    same = found.search("a dog:0.5", not_="sky", where={"camera": "canon"})
    assert len(same) == 3 and same[0].keys() == {"image", "prob", "cosine", "percentile"}


def test_like_leaves_the_image_itself_out(asked, library, model, folder):
    image = library / "0" / "red.jpg"
    out = asked("--like", image, "-k", 99).out
    assert len(out.splitlines()) == 9 and "red" not in names(out)
    without = ImageSearch.open(folder).search(like=image, k=3)  # needs no model
    assert [Path(hit["image"]).stem for hit in without] == [
        Path(line.split("  ")[-1]).stem for line in out.splitlines()[:3]
    ]


def test_several_queries_and_stdin(asked, monkeypatch):
    out = asked("a dog", "a cat", "-k", 2).out.splitlines()
    assert (out[0], out[4], len(out)) == ("a dog", "a cat", 7)
    monkeypatch.setattr("sys.stdin", io.StringIO("a dog\n\na cat\n"))
    both = json.loads(asked("-", "--json", "-k", 2).out)
    assert [it["query"] for it in both] == ["a dog", "a cat"]
    assert [len(it["hits"]) for it in both] == [2, 2]


def test_remarks(asked, library):
    assert "--image photos/0/red.jpg finds images like it" in asked("photos/0/red.jpg").err
    assert "--under photos finds images below it" in asked("photos").err
    assert "looking for sea +1, people -0.4" in asked("sea:1 people:-0.4").err
    assert asked("a dog").err == ""


def test_min_cosine_is_a_bound(asked):
    every = [float(line.split()[0]) for line in asked("a dog").out.splitlines()]
    bound = sorted(every)[4] + 1e-3
    kept = asked("a dog", "--min-cosine", bound).out.splitlines()
    assert len(kept) == sum(cosine >= bound for cosine in every)
    assert "no image has a cosine" in asked("a dog", "--min-cosine", 1, status=1).err


def test_a_percentile_stands_beside_the_cosine(asked):
    first, *_, last = asked("a dog").out.splitlines()
    assert first.split()[1:3] == ["100.0", "%"] and last.split()[1:3] == ["0.0", "%"]


def test_paths_are_for_pipes(asked, library):
    lines = asked("a dog", "--paths").out.splitlines()
    assert len(lines) == 10 and all(os.path.isfile(line) for line in lines)
    assert asked("a dog", "a cat", "-0").out.count("\0") == 10  # each once
    assert asked("a dog", "-0", "-k", 1).out == lines[0] + "\0"


def test_the_contact_sheet_needs_no_other_file(asked, library, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    sheet = tmp_path / "s.html"
    asked("<dogs> & cats", "--html", sheet, "--open", "-k", 4)
    text = sheet.read_text("utf-8")
    assert text.count("data:image/jpeg;base64,") == 4 and "&lt;dogs&gt; &amp; cats" in text
    assert not re.search(r'(src|href)="(?!data:|file:)', text) and "<script" not in text
    assert opened == [sheet.as_uri()]
    asked("dogs", "--open", "-k", 1)
    assert opened[1].endswith("/search.html")


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_output_is_utf8_whatever_the_terminal(tmp_path, model, environment):
    draw(tmp_path / "p" / "海辺.png", "red")
    folder = embedded(tmp_path / "E", model, tmp_path / "p")
    command = [sys.executable, "-m", "nnclip", "search", "海", "-i", str(folder), *MODEL]
    quiet = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, env={**os.environ, **quiet, **environment}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert "海辺.png" in done.stdout.decode("utf-8")


def test_info_and_list(folder, library, capsys, monkeypatch):
    monkeypatch.chdir(library.parent)

    def ran(*words, status=0):
        assert main([*map(str, words)]) == status
        return capsys.readouterr().out

    told = json.loads(ran("info", folder, "--json"))
    assert (told["images"], told["waiting"], told["failed"]) == (10, 0, [])
    assert told["sources"] == [{"path": str(library), "there": True, "images": 10}]
    assert told["taken"] == {
        "images": 5, "first": "2010-06-01T12:00:00", "last": "2014-06-01T12:00:00"
    }  # fmt: skip
    assert told["cameras"] == {"Canon": 3, "SONY": 2} and told["places"] == 5
    out = ran("info", folder)
    assert f"source    {library}: 10\n" in out and "none: every image is compared" in out
    assert len(ran("list", folder).splitlines()) == 10
    assert names(ran("list", folder, "--camera", "sony")) == {"green", "yellow"}
    assert ran("list", folder, "-0", "--after", "2014").endswith("0/white.jpg\0")
    line = json.loads(ran("list", folder, "--json", "--where", "image~red"))
    assert (line["camera"], line["taken"]) == ("Canon", "2010-06-01T12:00:00")
    assert ran("list", folder, "--failed", status=1) == ""


def test_failures_are_listed_with_reasons(tmp_path, model, pictures, capsys):
    folder = embedded(tmp_path / "EMB", model, pictures)
    assert main(["list", str(folder), "--failed"]) == 0
    out = capsys.readouterr().out
    assert "broken.jpg" in out and "not an image" in out
    assert main(["info", str(folder)]) == 0
    assert "1 could not be read" in capsys.readouterr().out
