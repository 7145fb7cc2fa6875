import os
import time

import pytest
from PIL import Image

from nnclip.errors import DataError
from nnclip.service.collection import Collection
from nnclip.service.images import ImageFile
from nnclip.service.photos import LARGE, SMALL, Photos
from nnclip.service.thumbnails import Thumbnails


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "library"
    path.mkdir()
    Image.new("RGB", (900, 450), "teal").save(path / "a.jpg")
    Image.new("RGB", (30, 60), "red").save(path / "b.tif")
    return path


@pytest.fixture
def photos(tmp_path):
    return Photos(Thumbnails(tmp_path / "thumbnails"))


def tokens(photos, collection):
    return {hit.name: photos.token(collection, hit) for hit in collection.first(9)}


def test_what_was_shown_can_be_asked_for(photos, folder):
    found = tokens(photos, collection := Collection("mine", folder))
    assert found == tokens(photos, collection) and len(set(found.values())) == 2
    for side in (SMALL, LARGE):
        file = photos.small(found["a.jpg"], side)
        assert file.kind == "image/webp" and file.content[8:12] == b"WEBP"
    assert photos.original(found["a.jpg"]) == (
        (folder / "a.jpg").read_bytes(), "image/jpeg", "a.jpg",
    )  # fmt: skip
    assert photos.original(found["b.tif"]).kind == "application/octet-stream"


@pytest.mark.parametrize("token", ["0" * 32, "", "../a.jpg", None, 3, ["a"], {"a": 1}])
def test_nothing_else_can(photos, folder, token):
    tokens(photos, Collection("mine", folder))
    with pytest.raises(DataError):
        photos.find(token)


def test_a_token_holds_in_one_process(photos, folder, tmp_path):
    collection = Collection("mine", folder)
    other = Photos(Thumbnails(tmp_path / "thumbnails"))
    assert set(tokens(photos, collection).values()).isdisjoint(tokens(other, collection).values())


def test_a_file_that_became_a_link_a_text_or_nothing_is_not_given_out(photos, folder, tmp_path):
    found = tokens(photos, Collection("mine", folder))
    secret = tmp_path / "secret.jpg"
    Image.new("RGB", (9, 9)).save(secret)
    for replace in (
        lambda path: path.symlink_to(secret),
        lambda path: path.symlink_to("/etc/passwd"),
        lambda path: path.write_text("root:x:0:0"),
        lambda path: os.mkfifo(path),
        lambda path: None,
    ):
        (folder / "a.jpg").unlink(missing_ok=True)
        replace(folder / "a.jpg")
        for ask in (photos.original, lambda token: photos.small(token, SMALL)):
            with pytest.raises(DataError):
                ask(found["a.jpg"])


def test_paths_are_whole_for_the_owner_alone(folder):
    collection = Collection("mine", folder)
    hit = next(hit for hit in collection.first(9) if hit.name == "a.jpg")
    assert Photos(Thumbnails(None)).path(collection, hit) == "library/a.jpg"
    assert Photos(Thumbnails(None), owner=True).path(collection, hit) == str(folder / "a.jpg")


def kept(place):
    return sorted(path for path in place.rglob("*") if path.is_file())


def test_a_thumbnail_is_made_once_and_anew_when_the_file_changes(tmp_path, folder, monkeypatch):
    place = tmp_path / "thumbnails"
    first = Thumbnails(place).get(ImageFile.find(folder / "a.jpg"), 100)
    with Image.open(kept(place)[0]) as image:
        assert image.size == (100, 50)
    monkeypatch.setattr("nnclip.service.thumbnails._made", None)
    assert Thumbnails(place).get(ImageFile.find(folder / "a.jpg"), 100) == first
    monkeypatch.undo()
    Image.new("RGB", (50, 50), "red").save(folder / "a.jpg")
    assert Thumbnails(place).get(ImageFile.find(folder / "a.jpg"), 100) != first
    assert len(kept(place)) == 2


def test_the_folder_stays_below_its_bound(tmp_path, folder):
    place, image = tmp_path / "thumbnails", ImageFile.find(folder / "a.jpg")
    size = len(Thumbnails(None).get(image, 60))
    thumbnails = Thumbnails(place, most=size * 12)
    for side in range(40, 60):
        thumbnails.get(image, side)
        os.utime(kept(place)[-1], (time.time() + side,) * 2)
        assert sum(path.stat().st_size for path in kept(place)) <= size * 12
    assert len(kept(place)) >= 5


def test_without_a_folder_that_can_be_written_memory_does(tmp_path, folder, caplog):
    (tmp_path / "file").touch()
    thumbnails = Thumbnails(tmp_path / "file" / "thumbnails")
    assert thumbnails.get(ImageFile.find(folder / "a.jpg"), 50)
    assert "not kept" in caplog.text
