"""A collection says how its images are read; earlier ones go on as they were, and say so."""

import dataclasses
import json
import logging

import numpy as np
import pytest
from PIL import Image

from nnclip import cli
from nnclip.image import OPENAI, USUAL_DECODING, Decoding
from nnclip.search import ImageSearch
from nnclip.search.changes import add, update
from nnclip.search.manifest import read_manifest, write_manifest
from nnclip.search.store import FolderStore


def photo(path, orientation=6, size=(400, 300)):
    """A drawn photo that lies on its side."""
    noise = np.random.default_rng(len(path.name)).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path, exif=exif)
    return path


@pytest.fixture
def embed(small_h5, tmp_path, capsys):
    def run(*flags: str, code: int = 0) -> dict:
        made = cli.main(
            ["embed", str(tmp_path / "photos"), "-o", str(tmp_path / "EMB"), "-m", str(small_h5),
             "--precision", "fp32", "--workers", "0", "--json", *flags]
        )  # fmt: skip
        out = capsys.readouterr()
        assert made == code, out.err
        return json.loads(out.out) if code == 0 else {"error": out.err}

    photo(tmp_path / "photos/a.jpg")
    return run


def expected(model, path, decoding):
    features = model.encode_image(model.preprocess_image(path, decoding))[0]
    return features / np.linalg.norm(features)


@pytest.mark.parametrize(
    ("flags", "decoding"),
    [
        ([], Decoding()),
        (["--exact-pixels"], Decoding(exact=True)),
        (["--no-as-seen"], Decoding(as_seen=False)),
        (["--exact-pixels", "--no-as-seen"], OPENAI),
    ],
)
def test_flags_say_how_images_are_read_and_the_collection_records_it(
    embed, model, tmp_path, flags, decoding
):
    told = embed(*flags)
    assert (told["exact_pixels"], told["as_seen"]) == (decoding.exact, decoding.as_seen)
    assert read_manifest(tmp_path / "EMB").decoding == decoding
    store = FolderStore(tmp_path / "EMB")
    b = photo(tmp_path / "more/bb.jpg")
    add(store, model, [str(b.parent)], workers=0)
    rows, _ = store.vectors()
    for row, path in ((rows[0][0], tmp_path / "photos/a.jpg"), (rows[-1][0], b)):
        assert row @ expected(model, path, decoding) > 0.9997
    best = ImageSearch.over(store, model).search_image(b, 1)[0]
    assert best["cosine"] > 0.999 and best["image"].endswith("bb.jpg")


def test_it_matters(model, tmp_path):
    path = photo(tmp_path / "a.jpg")
    assert expected(model, path, OPENAI) @ expected(model, path, USUAL_DECODING) < 0.999
    upright = Image.open(path).transpose(Image.Transpose.ROTATE_270)
    upright.save(tmp_path / "b.png")
    seen = expected(model, tmp_path / "b.png", OPENAI) @ expected(model, path, USUAL_DECODING)
    assert seen > 0.9999


def test_embed_goes_on_as_the_collection_was_begun_and_refuses_another_way(embed, tmp_path):
    embed("--exact-pixels")
    photo(tmp_path / "photos/bb.jpg")
    assert embed()["exact_pixels"] is True
    assert "leave out --exact-pixels" in embed("--no-as-seen", code=2)["error"]


def test_an_earlier_collection_goes_on_as_it_was_and_says_so(embed, model, tmp_path, caplog):
    embed("--exact-pixels", "--no-as-seen")
    folder = tmp_path / "EMB"
    manifest = read_manifest(folder)
    old = dataclasses.asdict(dataclasses.replace(manifest, exact_pixels=None, as_seen=None))
    assert old["exact_pixels"] is None
    write_manifest(folder, dataclasses.replace(manifest, exact_pixels=None, as_seen=None))
    b = photo(tmp_path / "photos/bb.jpg")
    store = FolderStore(folder)
    with caplog.at_level(logging.WARNING):
        assert update(store, model, workers=0).added == 1
    assert "every pixel, as stored" in caplog.text
    row = store.vectors()[0][-1][0]
    assert row @ expected(model, b, OPENAI) > 0.9997
    caplog.clear()
    hit = ImageSearch.over(store, model).search_image(b, 1)[0]
    assert hit["cosine"] > 0.999 and "every pixel, as stored" in caplog.text
