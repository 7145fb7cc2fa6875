import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from nnclip.clip import CLIP
from nnclip.errors import ConfigError, DataError
from nnclip.page.presets import FRONT, examples, ideas, presets
from nnclip.service import collection as collection_module
from nnclip.service.answers import named, search
from nnclip.service.collection import Collection
from nnclip.service.embedder import Embedder
from nnclip.service.images import ImageFile
from nnclip.service.languages import NAMES

COLOURS = ("red", "green", "blue", "white", "black")


@pytest.fixture(scope="module")
def embedder(small_h5):
    return Embedder("small", CLIP(small_h5, precision="fp32"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    for index, colour in enumerate(COLOURS):
        Image.new("RGB", (40, 40), colour).save(tmp_path / "below" / f"{index}-{colour}.png")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("no image either")
    return tmp_path


def filled(collection, embedder):
    deadline = time.monotonic() + 60
    while not collection.prepare(embedder).ready and time.monotonic() < deadline:
        time.sleep(0.01)
    return collection


def test_a_picture_finds_itself_first_and_broken_files_are_left_out(folder, embedder, caplog):
    collection = filled(Collection("mine", folder), embedder)
    path = folder / "below" / "2-blue.png"
    hits = search(embedder, collection, ImageFile.find(path), 60)
    assert hits[0].path == path
    assert hits[0].score == pytest.approx(1, abs=1e-4)
    assert {hit.path.name for hit in hits} == {f"{i}-{c}.png" for i, c in enumerate(COLOURS)}
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert "broken.jpg is left out" in caplog.text


def test_the_amount_is_kept_and_limited(folder, embedder):
    collection = filled(Collection("mine", folder), embedder)
    found = [search(embedder, collection, "something red", k) for k in (1, 2, 10**9)]
    assert [len(hits) for hits in found] == [1, 2, 5]


def test_a_text_may_hold_weights(folder, embedder):
    collection = filled(Collection("mine", folder), embedder)
    first, second = embedder.texts(["something red", "a horse"])
    query = first - 0.4 * second
    expected = collection.search(embedder, query / np.linalg.norm(query), 5)
    found = search(embedder, collection, "something red:1 a horse:-0.4", 5)
    assert [hit.path for hit in found] == [hit.path for hit in expected]
    assert found[0].score == pytest.approx(expected[0].score, abs=1e-5)


def test_what_other_programs_keep_is_skipped(folder):
    Image.new("RGB", (40, 40)).save(folder / "below" / "._0-red.png")
    assert len(Collection("mine", folder).paths) == 6


def test_only_collections_of_this_page_are_searched(folder):
    collections = {"mine": Collection("mine", folder)}
    assert named(collections, "mine") is named(collections, "") is collections["mine"]
    with pytest.raises(ConfigError, match="expected one of mine"):
        named(collections, "../other")
    with pytest.raises(ConfigError, match="--images"):
        named({}, "")


def test_what_was_read_so_far_is_searched(folder, embedder, monkeypatch):
    reading, go_on = threading.Event(), threading.Event()
    read = embedder.embed

    def slowly(sources):
        if len(sources) == 1:  # a batch that holds a broken file is read one by one
            reading.set()
            go_on.wait(60)
        return read(sources)

    monkeypatch.setattr(collection_module, "BATCH", 2)
    monkeypatch.setattr(embedder, "embed", slowly)
    collection = Collection("mine", folder)
    collection.prepare(embedder)
    reading.wait(60)
    assert len(search(embedder, collection, "something red", 9)) == 4
    assert collection.progress(embedder).startswith("4 of 6 images")
    go_on.set()
    filled(collection, embedder)
    assert len(search(embedder, collection, "something red", 9)) == 5
    assert collection.progress(embedder) == ""


def test_names_that_are_no_text_are_shown_escaped(tmp_path, embedder):
    for name in (b"a\xff.png", b"<b>\n.png"):
        Image.new("RGB", (40, 40), "red").save(tmp_path / "plain.png")
        (tmp_path / "plain.png").rename(tmp_path / os.fsdecode(name))
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    collection = filled(Collection(os.fsdecode(b"mine\xfe"), tmp_path), embedder)
    assert collection.name == r"mine\xfe"
    hits = search(embedder, collection, "a dog", 9)
    assert {hit.name for hit in hits} == {r"a\xff.png", r"<b>\x0a.png"}


def test_folders_without_pictures_are_told(tmp_path, embedder):
    with pytest.raises(DataError, match="no such folder"):
        Collection("none", tmp_path / "none")
    with pytest.raises(DataError, match="no image"):
        Collection("empty", tmp_path)
    (tmp_path / "a.png").write_bytes(b"no image")
    collection = filled(Collection("broken", tmp_path), embedder)
    with pytest.raises(DataError, match="none of the 1 files"):
        search(embedder, collection, "a dog", 3)


def test_the_bundled_pictures_are_there_with_captions():
    found = examples()
    assert len(found) >= FRONT
    assert all(e.path.is_file() and e.caption for e in found)
    assert len({e.name for e in found}) == len(found)


def test_the_bundled_pictures_are_still_what_the_script_draws():
    from scripts import draw_examples

    captions = [draw_examples.caption_of(scene) for scene in draw_examples.scenes()]
    assert captions == [e.caption for e in examples()]


def test_every_preset_offers_a_choice_in_every_language():
    english = presets()
    for code in NAMES:
        assert presets(code).keys() == english.keys()
        assert presets(code)["Animals"] != english["Animals"] or code == "en"
        for categories in presets(code).values():
            assert len(set(categories)) == len(categories) > 1
    assert presets("xx") == english


def test_the_first_preset_is_about_the_first_pictures():
    categories = next(iter(presets().values()))
    assert len(categories) == FRONT
    for category, example in zip(categories, examples(), strict=False):
        assert set(category.split()) <= {*example.caption.split(), "a", "and"}


def test_ideas_are_in_the_languages_that_a_model_knows():
    assert ideas(()) == ideas(("en",)) == ideas(("en", "xx"))
    assert len(ideas(tuple(NAMES))) == len(NAMES)
    assert ideas(("en", "de"))[0] == ideas(("en",))[0]
    assert ideas(("en", "de"))[1] in ideas(("de",))


def test_the_page_needs_none_of_the_packages_of_collections_on_disk():
    program = (
        "import sys\n"
        "for name in ('faiss', 'pyarrow'):\n"
        "    sys.modules[name] = None\n"
        "import nnclip.page.app, nnclip.service.collection\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
