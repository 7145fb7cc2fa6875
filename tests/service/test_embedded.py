"""The page opens what `nnclip embed` made."""

import tarfile

import numpy as np
import pytest
from PIL import Image

from nnclip import cli
from nnclip.clip import CLIP
from nnclip.errors import ConfigError, DataError
from nnclip.service.answers import search
from nnclip.service.collection import Collection
from nnclip.service.embedded import EmbeddedCollection, open_collection
from nnclip.service.embedder import Embedder
from nnclip.service.images import ImageFile, image_at, open_checked

COLOURS = ("red", "green", "blue", "white", "black")


@pytest.fixture(scope="module")
def embedder(small_h5):
    return Embedder("small", CLIP(small_h5, precision="fp32"))


@pytest.fixture
def photos(tmp_path):
    """A folder of images, one of which lies on its side, and a tar file with another."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for colour in COLOURS:
        image = Image.new("RGB", (60, 40), colour)
        image.paste("orange", (0, 0, 20, 13))
        exif = Image.Exif()
        exif[0x0112] = 6 if colour == "blue" else 1
        image.save(folder / f"{colour}.jpg", exif=exif)
    with tarfile.open(tmp_path / "more.tar", "w") as shard:
        shard.add(folder / "white.jpg", "snow.jpg")
    (folder / "film.mp4").touch()
    return folder


def run(small_h5, tmp_path, *sources, flags=()):
    words = ["embed", *map(str, sources), "-o", str(tmp_path / "EMB"), "-m", str(small_h5)]
    assert cli.main([*words, "--precision", "fp32", "--workers", "0", *flags]) == 0
    return str(tmp_path / "EMB")


def test_a_collection_is_opened_and_nothing_is_embedded(small_h5, tmp_path, photos, embedder):
    place = run(small_h5, tmp_path, photos, tmp_path / "more.tar")
    found = open_collection(place)
    assert isinstance(found, EmbeddedCollection)
    assert (found.name, found.model, found.not_read) == ("EMB", str(small_h5), {".mp4": 1})
    assert {hit.path.name for hit in found.first(5)} == {f"{colour}.jpg" for colour in COLOURS}
    for colour in ("blue", "red"):
        best = search(embedder, found, ImageFile.find(photos / f"{colour}.jpg"), 3)
        assert best[0].path == photos / f"{colour}.jpg" and best[0].score > 0.999
        assert len(best) == 3 and found.progress(embedder) == ""
    both = search(embedder, found, ImageFile.find(photos / "white.jpg"), 2)
    assert {hit.name for hit in both} == {"white.jpg", "snow.jpg"}
    assert all(open_checked(image_at(hit.path)).size == (60, 40) for hit in both)
    assert search(embedder, found, "a dog", 10**6)


def test_what_others_add_is_found(small_h5, tmp_path, photos, embedder):
    place = run(small_h5, tmp_path, photos)
    found = open_collection(place)
    assert len(search(embedder, found, "a dog", 60)) == 5
    words = ["add", place, str(tmp_path / "more.tar"), "--workers", "0", "--precision", "fp32"]
    assert cli.main(words) == 0
    assert len(search(embedder, found, "a dog", 60)) == 6


def test_a_query_is_read_as_the_collection_was(small_h5, tmp_path, photos, embedder):
    place = run(small_h5, tmp_path, photos, flags=["--no-as-seen"])
    best = search(embedder, open_collection(place), ImageFile.find(photos / "blue.jpg"), 1)
    assert best[0].score > 0.999


def test_another_model_is_refused(small_h5, tmp_path, photos):
    found = open_collection(run(small_h5, tmp_path, photos))
    other = Embedder("bundled", CLIP(precision="fp32"))
    for ask in (found.prepare, found.progress):
        with pytest.raises(ConfigError, match="embedded by that one"):
            ask(other)
    with pytest.raises(ConfigError, match="embedded by that one"):
        found.search(other, np.ones(other.model.config.embed, np.float32), 1)


def test_a_folder_is_still_a_folder(photos, tmp_path):
    assert isinstance(open_collection(str(photos)), Collection)
    with pytest.raises(DataError, match="no such folder"):
        open_collection(str(tmp_path / "none"))
