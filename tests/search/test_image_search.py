"""The class and the commands, with real models and images."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from nnclip.cli import main
from nnclip.clip import CLIP
from nnclip.errors import ConfigError, DataError
from nnclip.search import ImageSearch
from nnclip.search.changes import add, remove, update
from nnclip.search.duplicates import duplicate_groups
from nnclip.search.rows import unit_rows
from nnclip.search.store import FolderStore, open_store

from .conftest import draw, embedded, unit_vectors


@pytest.fixture
def folder(tmp_path, model, pictures):
    return embedded(tmp_path / "EMB", model, pictures)


def names(store):
    return sorted(Path(record["image"]).name for _, record in store.live())


def test_arrays_are_searched_as_system_b_does(model, rng):
    embeddings = 3 * rng.normal(size=(40, 32))
    records = [{"image": f"{i}.png", "caption": "x"} for i in range(40)]
    text = unit_rows(model.encode_text(model.tokenize(["a dog"])))[0]
    cosines = unit_rows(embeddings) @ text
    powers = np.exp(model.logit_scale * cosines.astype(np.float64))
    hits = ImageSearch(embeddings, records, model).search("a dog", k=5)
    order = np.argsort(-cosines)[:5]
    assert [hit["image"] for hit in hits] == [f"{i}.png" for i in order]
    np.testing.assert_allclose([hit["prob"] for hit in hits], powers[order] / powers.sum(), 1e-4)
    np.testing.assert_allclose([hit["cosine"] for hit in hits], cosines[order], atol=1e-6)
    everything = ImageSearch(embeddings, [f"{i}" for i in range(40)], model).search("a dog", 99)
    assert sum(hit["prob"] for hit in everything) == pytest.approx(1.0, abs=1e-6)
    assert {hit["image"] for hit in everything} == {f"{i}" for i in range(40)}


def test_a_picture_finds_itself(folder, model, pictures):
    found = ImageSearch.open(folder, model)
    assert len(found) == 10
    hits = found.search_image(pictures / "blue.png", 2)
    assert hits[0]["image"] == str(pictures / "blue.png") and hits[0]["cosine"] > 0.999
    assert hits[0]["prob"] > hits[1]["prob"] > 0


def test_what_cannot_be_asked_is_told(folder, model, other_h5):
    with pytest.raises(ConfigError, match="embeddings of two models cannot be compared"):
        ImageSearch.open(folder, CLIP(other_h5))
    found = ImageSearch.open(folder, model)
    with pytest.raises(DataError, match="empty query"):
        found.search("  ")
    with pytest.raises(ConfigError, match="expected at least 1"):
        found.search("a dog", 0)
    without = ImageSearch.open(folder)
    with pytest.raises(ConfigError, match=r"ImageSearch\.open\(place, clip\.load"):
        without.search("a dog")
    assert len(without.nearest(np.ones(32), 3)) == 3
    with pytest.raises(DataError, match="2 embeddings and 1 records"):
        ImageSearch(np.ones((2, 3)), ["a"], model)


def test_the_same_parameters_in_another_file_are_the_same_model(folder, model, tmp_path):
    model.save(tmp_path / "copy.h5")
    ImageSearch.open(folder, CLIP(tmp_path / "copy.h5", precision="fp32"))
    changed = CLIP(tmp_path / "copy.h5", precision="fp32")
    changed.parameters()["logit_scale"].d = 1.0
    with pytest.raises(ConfigError, match="expected"):
        ImageSearch.open(folder, changed)


def test_a_collection_follows_its_folder(folder, model, pictures):
    store = FolderStore(folder)
    assert update(store, model).unchanged == 10
    draw(pictures / "gold" / "new.png", "orange", (50, 70))
    draw(pictures / "red.png", "blue", (60, 60))  # another image under the same name
    os.utime(pictures / "green.png", ns=(1, 1))  # touched, with the same content
    (pictures / "pink").mkdir()
    (pictures / "white.png").unlink()
    (pictures / "black.png").write_bytes(b"damaged")
    done = update(store, model)
    assert (done.added, done.changed, done.removed, done.unchanged) == (1, 1, 2, 7)
    assert {Path(image).name for image, _ in done.failed} == {"broken.jpg", "black.png"}
    expected = "blue brown green new orange pink purple red yellow"
    assert names(store) == names(FolderStore(folder)) == [f"{n}.png" for n in expected.split()]
    hit = ImageSearch.over(store, model).search_image(pictures / "red.png", 1)[0]
    assert hit["image"] == str(pictures / "red.png") and hit["cosine"] > 0.999


def test_pictures_are_added_and_removed_by_name(folder, model, pictures, tmp_path):
    store = FolderStore(folder)
    more = [draw(tmp_path / "more" / f"{c}.png", c, (33, 90)) for c in ("red", "blue")]
    assert add(store, model, [str(tmp_path / "more")]).added == 2
    assert add(store, model, [str(more[0])]).unchanged == 1
    assert remove(store, [str(pictures / "red.png"), str(pictures / "deep")]).removed == 2
    assert len(store) == len(FolderStore(folder)) == 10
    assert update(store, model).added == 0  # what was removed on purpose stays out
    assert add(store, model, [str(pictures / "red.png")]).added == 1
    with pytest.raises(DataError, match="no such image in the collection"):
        remove(store, [str(tmp_path / "none.png")])
    (tmp_path / "more").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="no such file or folder"):
        update(store, model)  # a disk that is not mounted must not empty a collection
    assert remove(store, [str(tmp_path / "more")]).removed == 2
    assert update(FolderStore(folder), model).removed == 0


def test_other_processes_changes_are_seen(folder, model, pictures, tmp_path):
    running = ImageSearch.open(folder, model)
    picture = draw(tmp_path / "more" / "x.png", "purple", (33, 90))
    add(FolderStore(folder), model, [str(picture)])
    assert running.search_image(picture, 1)[0]["image"] == str(picture)
    remove(FolderStore(folder), [str(picture)])
    assert running.search_image(picture, 1)[0]["image"] != str(picture)


def test_a_database_without_its_driver_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "nnclip.search.postgres", raising=False)
    with pytest.raises(
        ConfigError, match=r"this needs psycopg, which is not installed.*\[postgres\]"
    ):
        open_store("postgresql://nobody@/none")


def test_duplicates_are_what_comparing_all_pairs_gives(rng, monkeypatch):
    from nnclip.search import duplicates

    monkeypatch.setattr(duplicates, "BLOCK", 7)
    rows = unit_vectors(rng, 60)
    for copy, original in [(41, 3), (17, 3), (50, 30), (5, 6)]:
        rows[copy] = unit_rows(rows[original : original + 1] + 0.01 * rng.normal(size=16))[0]
    dead = np.array([6])
    found = duplicate_groups([rows[:25], rows[25:]], dead, 0.995)
    assert sorted(group for group, _ in found) == [[3, 17, 41], [30, 50]]
    assert [cosine for _, cosine in found] == sorted((c for _, c in found), reverse=True)
    with pytest.raises(ConfigError, match="expected above 0"):
        duplicate_groups([rows], dead, 1.5)


def test_the_commands(tmp_path, small_h5, pictures, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["-m", str(small_h5), "--precision", "fp32"]

    def ran(*words):
        assert main([*map(str, words)]) == 0
        return capsys.readouterr().out

    out = ran("embed", "pictures", "-o", "EMB", "--workers", "0", *options)
    assert "10 images in EMB, 1 could not be read" in out and "broken.jpg" in out
    assert "10 images: searched exactly" in ran("index", "EMB")
    out = ran("search", "--image", "pictures/deep/pink.png", "-k", "3")  # the model is remembered
    assert len(out.splitlines()) == 3 and out.splitlines()[0].endswith("pictures/deep/pink.png")
    hits = json.loads(ran("search", "a dog", "-i", "EMB", "--json", *options))
    assert len(hits) == 10 and set(hits[0]) >= {"image", "prob", "cosine", "percentile"}
    assert ran("index", "EMB", "--kind", "ivf", "--recall", "0.5").startswith("10 images: ivf")
    draw(tmp_path / "copy.png", "red")
    assert ran("add", "EMB", "copy.png").startswith("1 added")
    groups = json.loads(ran("duplicates", "EMB", "--threshold", "0.9999", "--json"))
    assert [str(tmp_path / n) for n in ("pictures/red.png", "copy.png")] in [
        group["images"] for group in groups
    ]
    assert "1 removed" in ran("remove", "EMB", "copy.png")
    assert "1 could not be read" in ran("update", "EMB", "--workers", "0")
    assert main(["search"]) == 2
    assert "nothing to look for, expected a query, --image" in capsys.readouterr().err
    assert main(["search", "a dog", "-i", "nowhere"]) == 2
    assert "found no manifest.json" in capsys.readouterr().err
