import time

import pytest
from PIL import Image

from demo.collection import Collection
from demo.embedder import Embedder
from demo.presets import FRONT, PRESETS, examples
from demo.search import find, vector
from nnclip.clip import CLIP
from nnclip.errors import ConfigError, DataError

COLOURS = ("red", "green", "blue", "white", "black")


@pytest.fixture(scope="module")
def embedder(small_h5):
    return Embedder("small", CLIP(small_h5, precision="fp32"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    for index, colour in enumerate(COLOURS):
        Image.new("RGB", (40, 40), colour).save(tmp_path / "below" / f"{index}-{colour}.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture either")
    return tmp_path


def filled(collection, embedder):
    deadline = time.monotonic() + 60
    while not collection.prepare(embedder).ready and time.monotonic() < deadline:
        time.sleep(0.01)
    return collection


def test_a_picture_finds_itself_first_and_broken_files_are_left_out(folder, embedder, caplog):
    collection = filled(Collection("mine", folder), embedder)
    path = folder / "below" / "2-blue.png"
    hits = find({"mine": collection}, embedder, "mine", vector(embedder, "", path), 60)
    assert hits[0].path == path
    assert hits[0].score == pytest.approx(1, abs=1e-4)
    assert {hit.path.name for hit in hits} == {f"{i}-{c}.png" for i, c in enumerate(COLOURS)}
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert "broken.jpg is left out" in caplog.text


def test_the_amount_is_kept_and_limited(folder, embedder):
    collections = {"mine": filled(Collection("mine", folder), embedder)}
    query = vector(embedder, "something red")
    assert [len(find(collections, embedder, "mine", query, n)) for n in (-3, 2, 10**9)] == [1, 2, 5]
    with pytest.raises(ConfigError, match="expected one of mine"):
        find(collections, embedder, "../other", query, 3)


def test_folders_without_pictures_are_told(tmp_path, embedder):
    with pytest.raises(DataError, match="no such folder"):
        Collection("none", tmp_path / "none")
    with pytest.raises(DataError, match="no picture"):
        Collection("empty", tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    collection = filled(Collection("broken", tmp_path), embedder)
    with pytest.raises(DataError, match="none of the 1 files"):
        collection.search(embedder, vector(embedder, "a dog"), 3)


def test_the_bundled_pictures_are_there_with_captions():
    found = examples()
    assert len(found) >= FRONT
    assert all(e.path.is_file() and e.caption for e in found)
    assert len({e.name for e in found}) == len(found)


def test_the_bundled_pictures_are_still_what_the_script_draws(tmp_path):
    from scripts import draw_examples

    captions = [caption for caption, _ in draw_examples.drawn()]
    assert captions == [e.caption for e in examples()]


def test_every_preset_offers_a_choice():
    for categories in PRESETS.values():
        assert len(set(categories)) == len(categories) > 1
