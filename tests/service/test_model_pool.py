from concurrent.futures import ThreadPoolExecutor

import h5py
import pytest
from PIL import Image

from nnclip.errors import CheckpointError, ConfigError
from nnclip.service import model_pool
from nnclip.service.images import ImageFile
from nnclip.service.model_pool import ModelPool


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 30), "teal").save(path)
    return ImageFile.find(path)


def test_the_pool_loads_what_it_offers_and_nothing_else(small_h5, other_h5, monkeypatch, tmp_path):
    cached = tmp_path / "nnabla" / "ViT-B-32.h5"
    cached.parent.mkdir()
    cached.write_bytes(small_h5.read_bytes())
    monkeypatch.setenv("NNCLIP_CACHE", str(tmp_path))
    pool = ModelPool([str(small_h5), str(other_h5)], "fp32")
    assert pool.names == ["small", "other", "nnabla/ViT-B-32"]
    assert pool.get() is pool.get("small")
    assert pool.get("other").model.config.image.resolution == 48
    assert pool.get("nnabla/ViT-B-32 · fp32").model.precision == "fp32"
    assert pool.get("").name == "small"
    for name in ("/etc/passwd", str(small_h5), "bundled"):
        with pytest.raises(ConfigError, match="found no model"):
            pool.get(name)


def test_a_model_is_loaded_once_and_one_that_fails_may_be_tried_again(small_h5, tmp_path):
    path = tmp_path / "late.h5"
    pool = ModelPool([str(path)], "fp32")
    assert pool.languages() == ()
    with pytest.raises(CheckpointError):
        pool.get()
    path.write_bytes(small_h5.read_bytes())
    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(lambda _: pool.get(), range(4)))) == 1


def test_a_model_says_which_languages_it_knows(small_h5, tmp_path):
    path = tmp_path / "speaking.h5"
    path.write_bytes(small_h5.read_bytes())
    with h5py.File(path, "a") as file:
        file.attrs["nnclip.languages"] = "en de"
    pool = ModelPool([str(path), str(small_h5)])
    assert pool.languages() == ("en", "de")
    assert pool.languages("small") == ()


def test_the_pool_names_no_precision_that_cannot_be_had(small_h5, image):
    pool = ModelPool([str(small_h5)])
    names = pool.variants()
    assert names[0] == "small · fp32" and "small · int8" in names
    exact = pool.get(names[0]).images([image])
    for name in names:
        embedder = pool.get(name)
        embedder.warm()
        assert embedder.texts(["a dog"]).shape == (1, 32)
        assert (embedder.images([image]) @ exact.T).item() > 0.98
        assert embedder.pace(image) > 0
        assert (embedder.model.drift is not None) == name.endswith("int8")


def test_a_wrong_name_or_precision_loads_nothing_and_drops_nothing(small_h5, monkeypatch):
    pool = ModelPool([str(small_h5)])
    first = pool.get()
    monkeypatch.setattr(model_pool, "CLIP", lambda *_, **__: pytest.fail("a model was loaded"))
    for name in ("small · fp64", "small · ", "small · <b>", "small · int4", "other · fp32", " · "):
        with pytest.raises(ConfigError, match="expected one of"):
            pool.get(name)
    assert pool.get() is first


def test_the_model_that_nobody_asked_longest_makes_room(small_h5, monkeypatch, tmp_path):
    paths = [tmp_path / f"{name}.h5" for name in "abcde"]
    for path in paths:
        path.write_bytes(small_h5.read_bytes())
    pool = ModelPool([str(path) for path in paths], "fp32")
    held = {name: pool.get(name) for name in "abcd"}
    paths[4].write_bytes(b"no model")
    with pytest.raises(CheckpointError):
        pool.get("e")
    assert all(pool.get(name) is found for name, found in held.items())
    paths[4].write_bytes(small_h5.read_bytes())
    pool.get("e")
    assert [pool.get(name) is held[name] for name in "bcd"] == [True] * 3
    assert pool.get("a") is not held["a"]


def test_sources_have_names_of_their_own(small_h5, other_h5, tmp_path, monkeypatch):
    monkeypatch.setenv("NNCLIP_CACHE", str(tmp_path))
    pool = ModelPool([f"clip={small_h5}", str(other_h5), "ViT-B/32", "bundled"], "fp32")
    assert pool.names == ["clip", "other", "ViT-B/32", "bundled"]
    assert pool.loaded("clip") is None
    found = pool.get("clip")
    assert pool.loaded("clip") is found and pool.loaded() is found
    with pytest.raises(ConfigError, match="expected one of clip, other, ViT-B/32, bundled"):
        pool.loaded("small")
    twice = tmp_path / "small.h5"
    twice.write_bytes(b"")
    with pytest.raises(ConfigError, match="two models called 'small'"):
        ModelPool([str(small_h5), str(twice)])
