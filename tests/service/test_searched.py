"""What visitors may ask of a collection of either kind: signs, filters, images like one, pages."""

import os

import pytest
from PIL import Image

from nnclip import cli
from nnclip.clip import CLIP
from nnclip.errors import DataError
from nnclip.service.embedded import open_collection
from nnclip.service.embedder import Embedder
from nnclip.service.images import ImageFile
from nnclip.service.searched import Wanted

COLOURS = ("red", "green", "blue", "white", "black", "orange")


@pytest.fixture(scope="module")
def embedder(small_h5):
    return Embedder("small", CLIP(small_h5, precision="fp32"))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos") / "library"
    for index, colour in enumerate(COLOURS):
        exif = Image.Exif()
        if colour != "orange":
            exif[0x0132] = f"20{18 + index}:07:01 10:20:30"
            exif[0x010F], exif[0x0110] = ("Canon", "EOS 5D") if index % 2 else ("Fujifilm", "X100")
        place = folder / ("summer" if index < 3 else "winter/late")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60 + index, 40), colour).save(place / f"{colour}.jpg", exif=exif)
    return folder


@pytest.fixture(scope="module", params=["folder", "collection"])
def photos(request, small_h5, library, embedder, tmp_path_factory):
    if request.param == "folder":
        found = open_collection(str(library))
        while not found.prepare(embedder).ready:
            pass
        return found
    place = str(tmp_path_factory.mktemp("emb") / "EMB")
    words = ["embed", str(library), "-o", place, "-m", str(small_h5), "--precision", "fp32"]
    assert cli.main([*words, "--workers", "0"]) == 0
    return open_collection(place)


def names(found):
    return {hit.path.stem for hit in found.hits}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"under": "summer"}, {"red", "green", "blue"}),
        ({"under": "library/winter/"}, {"white", "black", "orange"}),
        ({"under": "win"}, set()),
        ({"after": "2019", "before": "2021"}, {"green", "blue"}),
        ({"camera": "canon"}, {"green", "white"}),
        ({"camera": "CANON", "under": "winter"}, {"white"}),
    ],
)
@pytest.mark.parametrize("text", ["", "a dog"])
def test_filters_choose(photos, embedder, text, where, expected):
    found = photos.find(embedder, Wanted(text, where=where, k=9))
    assert names(found) == expected and found.images == 6 and found.passed == len(expected)
    assert found.silent == ({"taken": 1} if "after" in where else {}) | (
        {"camera": 1} if "camera" in where else {}
    ) | ({"image": 0} if "under" in where else {})


@pytest.mark.parametrize("folder", ["..", "../photos", "a/../../..", "\0"])
def test_no_place_outside_is_named(photos, embedder, folder):
    with pytest.raises(DataError, match="folder of this collection"):
        photos.find(embedder, Wanted("a dog", where={"under": folder}))


def test_a_filter_that_cannot_be_is_told(photos, embedder):
    with pytest.raises(DataError, match=r"after: found .* expected a date such as 2019"):
        photos.find(embedder, Wanted("a dog", where={"after": "yesterday"}))


@pytest.mark.parametrize("asked", [{}, {"text": "a dog -a cat"}])
def test_pages_follow_each_other(photos, embedder, asked):
    whole = [hit.image for hit in photos.find(embedder, Wanted(**asked, k=6)).hits]
    pages = [photos.find(embedder, Wanted(**asked, start=at, k=2)).hits for at in (0, 2, 4, 6)]
    assert [hit.image for page in pages for hit in page] == whole and len(set(whole)) == 6
    assert not pages[3]


def test_an_image_of_the_collection_is_not_like_itself(photos, embedder, library):
    red = next(h for h in photos.find(embedder, Wanted(k=9)).hits if h.path.stem == "red")
    found = photos.find(embedder, Wanted(like=red.image, k=9))
    assert names(found) == {*COLOURS} - {"red"}
    same = photos.find(embedder, Wanted(image=ImageFile.find(library / "summer/red.jpg"), k=9))
    assert same.hits[0].path.stem == "red" and len(same.hits) == 6
    scores = {hit.image: hit.score for hit in same.hits}
    assert all(hit.score == pytest.approx(scores[hit.image], abs=2e-3) for hit in found.hits)
    both = photos.find(embedder, Wanted("a dog", like=red.image, k=9))
    assert [hit.score for hit in both.hits] != [hit.score for hit in found.hits]
    with pytest.raises(DataError, match="no longer"):
        photos.find(embedder, Wanted(like="/etc/passwd"))


def test_a_least_cosine_bounds(photos, embedder):
    scores = [hit.score for hit in photos.find(embedder, Wanted("a dog", k=6)).hits]
    least = (scores[2] + scores[3]) / 2
    assert len(photos.find(embedder, Wanted("a dog", min_cosine=least, k=6)).hits) == 3


def test_names_and_places_are_those_of_the_sources(photos, embedder, library, tmp_path):
    hit = photos.find(embedder, Wanted("a dog", where={"camera": "fuji"}, k=1)).hits[0]
    assert photos.within(hit.image) == f"library/{hit.path.relative_to(library)}"
    assert hit.facts["camera"] == "Fujifilm X100" and hit.facts["height"] == 40
    assert photos.holds(hit.path)
    link = library / "link.jpg"
    link.symlink_to("/etc/passwd")
    inside = library / "inside.jpg"
    inside.symlink_to(library / "summer" / "red.jpg")
    try:
        assert not photos.holds(link) and photos.holds(inside)
        assert photos.holds(tmp_path / "from-a-table.jpg")  # named as it is, without a link
    finally:
        os.unlink(link), os.unlink(inside)
