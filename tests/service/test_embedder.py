import threading
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from PIL import Image

from nnclip.clip import CLIP
from nnclip.errors import CheckpointError, ConfigError, DataError
from nnclip.service.embedder import Embedder, Memory, Together
from nnclip.service.languages import sentence
from nnclip.service.shelf import Shelf


@pytest.fixture(scope="module")
def embedder(small_h5):
    return Embedder("small", CLIP(small_h5, precision="fp32"))


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 30), "teal").save(path)
    return path


def test_memory_computes_what_it_lacks_in_the_order_asked():
    memory, computed = Memory(3), []

    def rows(keys):
        def compute(missing):
            computed.append([keys[i] for i in missing])
            return np.array([[ord(keys[i])] for i in missing])

        return "".join(chr(row[0]) for row in memory.rows(keys, compute))

    assert [rows("abc"), rows("cab"), rows("dad")] == ["abc", "cab", "dad"]
    assert computed == [["a", "b", "c"], ["d"]]
    assert [rows("vwxyz"), rows("xyz"), rows("d")] == ["vwxyz", "xyz", "d"]
    assert computed[2:] == [list("vwxyz"), ["d"]]  # the last three were kept


def test_what_waits_is_computed_together():
    sizes, begun, go = [], threading.Event(), threading.Event()

    def double(rows):
        sizes.append(len(rows))
        begun.set()
        go.wait(30)
        return 2 * rows

    together = Together(double)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(together, np.zeros(1))]
        begun.wait(30)
        answers += [pool.submit(together, np.full(n, n)) for n in (1, 2, 3)]
        while len(together._waiting) < 3:
            threading.Event().wait(0.001)
        go.set()
        assert [list(answer.result(30)) for answer in answers] == [[0], [2], [4, 4], [6, 6, 6]]
    assert sizes == [1, 6]


def test_a_call_that_fails_says_so_and_the_next_one_works():
    def positive(rows):
        if (rows < 0).any():
            raise DataError("negative")
        return rows

    together = Together(positive)
    for _ in range(2):
        with pytest.raises(DataError, match="negative"):
            together(np.full(2, -1))
        assert list(together(np.ones(2))) == [1, 1]


def test_an_answer_is_that_of_the_model(embedder, picture):
    answer = embedder.answer([picture], ["dog", "cat"], "a {}")
    model = embedder.model
    ids = model.tokenize(["a dog", "a cat"])
    expected = model.probabilities(model.preprocess_image(picture), ids)
    np.testing.assert_allclose(answer.probabilities, expected, atol=1e-6)
    assert answer.texts == ["a dog", "a cat"]


def test_nothing_is_computed_twice(embedder, picture, monkeypatch):
    first = embedder.answer([picture], ["dog", "cat"], "the {}")

    def fail(_):
        raise AssertionError("computed again")

    monkeypatch.setattr(embedder.model, "encode_text", fail)
    monkeypatch.setattr(embedder.model, "encode_image", fail)
    again = embedder.answer([picture], ["cat", "dog"], "the {}")
    np.testing.assert_array_equal(again.cosines, first.cosines[:, ::-1])


def test_a_picture_that_changed_is_computed_again(embedder, picture):
    before = embedder.pictures([picture])
    Image.effect_noise((50, 50), 90).save(picture)
    assert np.abs(embedder.pictures([picture]) - before).max() > 1e-4


def test_too_long_a_category_is_told(embedder, picture):
    with pytest.raises(DataError):
        embedder.answer([picture], ["word " * 2000], "{}")


def test_the_shelf_loads_what_it_offers_and_nothing_else(small_h5, other_h5, monkeypatch, tmp_path):
    cached = tmp_path / "nnabla" / "ViT-B-32.h5"
    cached.parent.mkdir()
    cached.write_bytes(small_h5.read_bytes())
    monkeypatch.setenv("NNCLIP_CACHE", str(tmp_path))
    shelf = Shelf([str(small_h5), str(other_h5)], "fp32")
    assert shelf.names == ["small", "other", "nnabla/ViT-B-32"]
    assert shelf.get() is shelf.get("small")
    assert shelf.get("other").model.config.image.resolution == 48
    assert shelf.get("nnabla/ViT-B-32 · fp32").model.precision == "fp32"
    assert shelf.get("").name == "small"
    for name in ("/etc/passwd", str(small_h5), "bundled"):
        with pytest.raises(ConfigError, match="found no model"):
            shelf.get(name)


def test_a_model_is_loaded_once_and_one_that_fails_may_be_tried_again(small_h5, tmp_path):
    path = tmp_path / "late.h5"
    shelf = Shelf([str(path)], "fp32")
    assert shelf.languages() == ()
    with pytest.raises(CheckpointError):
        shelf.get()
    path.write_bytes(small_h5.read_bytes())
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: shelf.get(), range(4)))) == 1


def test_a_model_says_which_languages_it_knows(small_h5, tmp_path):
    path = tmp_path / "speaking.h5"
    path.write_bytes(small_h5.read_bytes())
    with h5py.File(path, "a") as file:
        file.attrs["nnclip.languages"] = "en de"
    shelf = Shelf([str(path), str(small_h5)])
    assert shelf.languages() == ("en", "de")
    assert shelf.languages("small") == ()
    assert "Deutsch" in sentence(shelf.languages())
    assert sentence(()) == ""


def test_the_shelf_names_no_precision_that_cannot_be_had(small_h5, picture):
    shelf = Shelf([str(small_h5)])
    names = shelf.variants()
    assert names[0] == "small · fp32" and "small · int8" in names
    exact = shelf.get(names[0]).pictures([picture])
    for name in names:
        embedder = shelf.get(name)
        embedder.warm()
        assert embedder.texts(["a dog"]).shape == (1, 32)
        assert (embedder.pictures([picture]) @ exact.T).item() > 0.98
        assert embedder.pace(picture) > 0
        assert (embedder.model.drift is not None) == name.endswith("int8")
