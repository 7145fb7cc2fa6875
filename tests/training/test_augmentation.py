"""What chance changes in images and captions, and that it is the same chance everywhere."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnclip.errors import ConfigError, DataError
from nnclip.image import Colours, Preprocess
from nnclip.image.colours import CHANGES
from nnclip.text import openai_tokenizer
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.data.captions import Captions
from nnclip.training.data.decode import Recipe, decode
from nnclip.training.data.pairs import Draw, Pair
from nnclip.training.feed import Feed


@pytest.fixture
def image(rng: np.random.Generator) -> Image.Image:
    small = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
    return small.resize((30, 40), Image.Resampling.BICUBIC)


@pytest.mark.torch
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("factor", [0.0, 0.3, -0.21])
def test_each_change_is_torchvisions(image: Image.Image, number: int, factor: float) -> None:
    from torchvision.transforms import functional

    theirs = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
        functional.adjust_hue,
    )[number]
    factor = factor if number == 3 else 1 + factor
    expected = np.asarray(theirs(image, factor)).astype(int)
    found = np.asarray(CHANGES[number](image, factor)).astype(int)
    np.testing.assert_array_equal(found, expected)


def test_colours_change_by_chance_alone(image: Image.Image) -> None:
    pixels = np.asarray(image)
    none = Colours()(image, np.random.default_rng(1))
    np.testing.assert_array_equal(np.asarray(none), pixels)
    colours = Colours(0.32, share=0.5, gray=0.25)
    found = [np.asarray(colours(image, np.random.default_rng(n))) for n in range(200)]
    again = [np.asarray(colours(image, np.random.default_rng(n))) for n in range(5)]
    assert all((a == b).all() for a, b in zip(found, again, strict=False))
    assert 0.15 < np.mean([np.ptp(one.astype(int), axis=2).max() == 0 for one in found]) < 0.35
    untouched = [n for n in range(200) if (np.random.default_rng(n).uniform(size=2) >= 0.5).all()]
    assert 30 < len(untouched) < 80
    assert all(np.array_equal(found[n], pixels) for n in untouched)
    assert np.mean([np.array_equal(one, pixels) for one in found]) < 0.55


def row(path: Path, recipe: Recipe, epoch: int) -> np.ndarray:
    found = np.zeros((3, 16, 16), np.float32)
    assert decode(Pair(str(path), ("x",)), Draw(1, epoch, 0), recipe, found) is None
    return found


def test_a_crop_without_stretch_is_a_square(image: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    board = (np.indices((64, 64)) // 8).sum(0) % 2 * 255
    Image.fromarray(np.repeat(board[..., None], 3, 2).astype(np.uint8)).save(path)
    preprocess = Preprocess(16, mean=(0.0,) * 3, std=(1.0,) * 3)
    whole = row(path, Recipe(preprocess, 1.0, stretch=1.0), 0)
    central = row(path, Recipe(preprocess, None), 0)
    np.testing.assert_allclose(whole, central, atol=5 / 255)
    stretched = [row(path, Recipe(preprocess, 0.5), epoch) for epoch in range(3)]
    assert not np.array_equal(stretched[0], stretched[1])


def feed(config: TrainConfig, training: bool = True) -> Feed:
    from tests.conftest import SMALL

    tokenizer = openai_tokenizer()
    return Feed(config, config.train, SMALL.image, SMALL.text, tokenizer, 16, training)


def first(made: Feed, position: int = 0) -> tuple[np.ndarray, list[str]]:
    with made._loader(Alone()) as loader:
        raw = next(loader.batches(iter([loader.stream.draws(position, 8)])))
        return raw.images.copy(), raw.captions


@pytest.fixture
def settings(pairs_csv: Path) -> TrainConfig:
    return TrainConfig(train=str(pairs_csv), batch_size=8, workers=0)


def test_what_is_not_asked_for_changes_nothing(settings: TrainConfig) -> None:
    """The same crops and captions as before there were such flags."""
    images, captions = first(feed(settings))
    off = dataclasses.replace(settings, color_jitter_share=0.1, group_captions=True)
    again, texts = first(feed(off))
    np.testing.assert_array_equal(images, again)
    assert captions == texts


@pytest.mark.parametrize(
    "change", [{"color_jitter": 0.5}, {"grayscale": 1.0}, {"aspect_jitter": 2.0}]
)
def test_each_flag_changes_the_images(settings: TrainConfig, change: dict) -> None:
    images, _ = first(feed(settings))
    changed, _ = first(feed(dataclasses.replace(settings, **change)))
    assert np.abs(images - changed).max() > 0.1
    plain, _ = first(feed(settings, training=False))
    same, _ = first(feed(dataclasses.replace(settings, **change), training=False))
    np.testing.assert_array_equal(plain, same)  # validation knows no chance


def test_without_augmentation_images_are_those_of_validation(settings: TrainConfig) -> None:
    config = dataclasses.replace(settings, augment=False, color_jitter=1.0)
    found, expected = first(feed(config))[0], first(feed(settings, training=False))[0]
    np.testing.assert_array_equal(found, expected)


def test_words_are_left_out_by_chance_and_one_stays() -> None:
    pair = Pair("x.png", ("one two three four",))
    made = Captions(dropout=0.5)
    found = [made(pair, Draw(1, epoch, 0)) for epoch in range(300)]
    assert found == [made(pair, Draw(1, epoch, 0)) for epoch in range(300)]
    words = ["one", "two", "three", "four"]
    assert all(set(text.split()) <= set(words) and text for text in found)
    share = np.mean([len(text.split()) for text in found]) / 4
    assert share == pytest.approx(0.5 + 0.5 / 4, abs=0.05)  # one is picked to stay
    assert len({Captions(dropout=0.99)(pair, Draw(1, e, 0)) for e in range(99)} - set(words)) < 5


def test_templates_are_drawn_and_validation_has_the_first(settings: TrainConfig) -> None:
    pair = Pair("x.png", ("cat", "dog"))
    found = {Captions(("a {}.", "the {}."))(pair, Draw(1, e, 0)) for e in range(60)}
    assert found == {"a cat.", "the cat.", "a dog.", "the dog."}
    config = dataclasses.replace(settings, templates="simple", caption_dropout=0.5)
    assert all(text.startswith("a photo of a ") for text in first(feed(config, False))[1])
    texts = first(feed(config))[1]
    assert len({text.split("image")[0] for text in texts}) > 1


def test_rows_of_one_image_become_one_pair(settings: TrainConfig, tmp_path: Path) -> None:
    folder = Path(settings.train).parent / "images"
    rows = [f"{folder}/{n}.png\tcaption {n} {k}" for n in range(8) for k in "abc"]
    table = tmp_path / "t.csv"
    table.write_text("filepath\ttitle\n" + "\n".join(rows) + "\n")
    config = dataclasses.replace(settings, train=str(table))
    assert len(feed(config).table) == 24
    grouped = feed(dataclasses.replace(config, group_captions=True))
    assert len(grouped.table) == 8 and len(grouped.table[0].captions) == 3
    epochs = {tuple(sorted(first(grouped, 8 * epoch)[1])) for epoch in range(4)}
    assert len(epochs) > 1


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"color_jitter": 1.5}, ConfigError, "--color-jitter"),
        ({"color_jitter_share": -1.0}, ConfigError, "--color-jitter-share"),
        ({"grayscale": 2.0}, ConfigError, "--grayscale"),
        ({"aspect_jitter": 0.5}, ConfigError, "--aspect-jitter"),
        ({"caption_dropout": 1.0}, ConfigError, "--caption-dropout"),
        ({"templates": "none"}, ConfigError, "--templates"),
        ({"templates": "{} and {}"}, DataError, "needs one"),
    ],
)
def test_impossible_settings_are_told(
    settings: TrainConfig, wrong: dict, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        feed(dataclasses.replace(settings, **wrong))
