"""Cached features: computed once, gone on with, and never stale."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnclip.errors import ConfigError, DataError
from nnclip.image import Preprocess
from nnclip.training import features
from nnclip.training.data.decode import Recipe
from nnclip.training.data.pairs import by_image
from nnclip.training.data.readers import read_pairs
from nnclip.training.features import FeatureCache, Tower, tower_identity
from nnclip.training.head_feed import FeaturePairs, feature_pairs, read_parallel
from nnclip.weights.model import load_model

RECIPE = Recipe(Preprocess(8, mean=(0.5,) * 3, std=(0.5,) * 3), None)


class Counting:
    """A tower that is a mean of colours, counts what it computes, and may break down."""

    def __init__(self, most: int = 10**9) -> None:
        self.rows, self.most = 0, most

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if self.rows + len(images) > self.most:
            raise RuntimeError("power cut")
        self.rows += len(images)
        return np.asarray(images).reshape(len(images), 3, -1).mean(axis=2)


@pytest.fixture
def pictures(tmp_path: Path, pairs_csv: Path) -> Path:
    """A copy of the 40 pairs, to change."""
    shutil.copytree(pairs_csv.parent, tmp_path / "data")
    return tmp_path / "data" / "pairs.csv"


@pytest.fixture
def cached(tmp_path: Path) -> Callable[..., tuple[features.Features, int]]:
    """Gives the features of a table, and how many rows had to be computed."""

    def have(source: Path, identity: str = "a", most: int = 10**9, **options: bool):
        encode = Counting(most)
        cache = FeatureCache(tmp_path / "cache", **options)
        return cache.images(read_pairs(str(source)), RECIPE, Tower(identity, encode)), encode.rows

    return have


def test_features_are_computed_once_and_mapped(cached, pictures: Path) -> None:
    first, computed = cached(pictures)
    assert computed == 40 and first.rows.shape == (40, 3) and first.rows.dtype == np.float32
    assert len(np.unique(first.rows, axis=0)) == 40
    again, computed = cached(pictures)
    assert computed == 0 and isinstance(again.rows, np.memmap)
    np.testing.assert_array_equal(first.rows, again.rows)


def test_an_interrupted_cache_goes_on(cached, pictures: Path, monkeypatch) -> None:
    monkeypatch.setattr(features, "BATCH", 4)
    monkeypatch.setattr(features, "BLOCK", 8)
    with pytest.raises(RuntimeError, match="power cut"):
        cached(pictures, most=20)
    found, computed = cached(pictures)
    assert computed == 24  # 16 rows were noted as done
    whole, _ = cached(pictures, "another tower")
    np.testing.assert_array_equal(found.rows, whole.rows)


def test_ctrl_c_loses_no_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache, asked, last = FeatureCache(tmp_path), [], ["d"]

    def encode(texts: list[str]) -> np.ndarray:
        if texts == last:
            raise KeyboardInterrupt
        asked.extend(texts)
        return np.array([[len(text)] for text in texts], np.float32)

    texts = [*("abc" * features.BATCH)[: features.BATCH], *last]
    with pytest.raises(KeyboardInterrupt):
        cache.texts(texts, Tower("t", encode))
    assert f"{features.BATCH} of {features.BATCH + 1} rows are kept" in caplog.text
    last.clear()
    assert len(cache.texts(texts, Tower("t", encode)).rows) == len(texts) == len(asked)


def test_what_is_stale_is_not_used(cached, pictures: Path) -> None:
    cached(pictures)
    assert cached(pictures, identity="b")[1] == 40
    os.utime(pictures.parent / "images" / "7.png", (0, 0))
    assert cached(pictures)[1] == 40
    pictures.write_text(pictures.read_text() + "images/3.png\tonce more\n")
    assert cached(pictures)[1] == 41
    assert cached(pictures, half=True)[0].rows.dtype == np.float16


def test_a_broken_picture_is_noted_and_left_out(cached, pictures: Path) -> None:
    (pictures.parent / "images" / "5.png").write_bytes(b"no image")
    for _ in range(2):  # computed, then read
        found, _ = cached(pictures)
        assert list(found.broken) == [5] and "5.png" in found.broken[5]
        pairs = feature_pairs(read_pairs(str(pictures)), found, found)
        assert len(pairs) == 39 and 5 not in pairs.rows


def test_a_damaged_cache_is_told_of(cached, pictures: Path, tmp_path: Path) -> None:
    cached(pictures)
    (file,) = (tmp_path / "cache").glob("*.npy")
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"image-.*remove the file"):
        cached(pictures)


def test_one_of_several_ranks_does_not_compute(cached, pictures: Path) -> None:
    with pytest.raises(ConfigError, match=r"0 of 40 rows.*cache-features"):
        cached(pictures, complete=True)
    cached(pictures)
    assert cached(pictures, complete=True)[1] == 0


def test_texts_are_cached_alike(tmp_path: Path) -> None:
    cache, asked = FeatureCache(tmp_path), []

    def encode(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([[len(text)] for text in texts], np.float32)

    texts = ["a", "bb", "ccc"]
    for _ in range(2):
        assert cache.texts(texts, Tower("t", encode)).rows.ravel().tolist() == [1, 2, 3]
    assert asked == texts
    cache.texts(["ab", "b", "ccc"], Tower("t", encode))  # the same letters, cut elsewhere
    assert len(asked) == 6


def test_a_picture_with_several_captions_is_one_row(pictures: Path) -> None:
    pictures.write_text(pictures.read_text() + "images/3.png\tonce more\n")
    table = by_image(read_pairs(str(pictures)))
    assert len(table) == 40 and table[3].captions[1] == "once more"


def test_the_identity_of_a_tower_is_that_of_its_values(small_h5: Path, other_h5: Path) -> None:
    small, other = load_model(small_h5), load_model(other_h5)
    sides = [tower_identity(w, side) for w in (small, other) for side in ("image", "text")]
    assert len(set(sides)) == 4
    assert tower_identity(load_model(small_h5, mapped=True), "image") == sides[0]
    assert tower_identity(small, "image", "bf16") != sides[0]
    small.variables()["text_projection"].d[0, 0] += 1
    assert tower_identity(small, "image") == sides[0]
    assert tower_identity(small, "text") != sides[1]


def test_a_split_is_random_whole_and_repeatable() -> None:
    rows = np.arange(50)
    pairs = FeaturePairs(np.zeros((50, 2)), np.zeros((50, 2)), np.arange(51), rows)
    first, second = pairs.split(0.8, 1)
    assert (len(first), len(second)) == (40, 10)
    assert sorted([*first.rows, *second.rows]) == rows.tolist()
    assert (pairs.split(0.8, 1)[1].rows == second.rows).all()
    assert (pairs.split(0.8, 2)[1].rows != second.rows).any()
    with pytest.raises(DataError, match="too few for two parts"):
        pairs.split(0.999, 1)


def test_parallel_texts_are_read(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    table.write_text('english\tgerman\nred "cat"\trote Katze\nno partner\t\nhouse\tHaus\n')
    assert read_parallel(table) == (['red "cat"', "house"], ["rote Katze", "Haus"])
    table.write_text('english,german\n"red, big","rot, groß"\n')
    assert read_parallel(table) == (["red, big"], ["rot, groß"])
    table.write_text("english\n")
    with pytest.raises(DataError, match="found no pair of texts"):
        read_parallel(table)
