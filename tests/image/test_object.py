"""What a Preprocess is worth as an object: equal, checked, told, read again."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

import nnclip.image
from nnclip.errors import ConfigError
from nnclip.image import CLIP_MEAN, Preprocess

UNUSUAL = Preprocess(
    31,
    "longest",
    size=40,
    interpolation="lanczos",
    fill=9,
    rescale=1 / 127.5,
    mean=(1, 1, 1),
    std=(0.5, 1, 2),
    pipeline="transformers",
)


def test_openais_pipeline_adds_no_key():
    assert Preprocess(31).metadata().keys() == {"resolution", "mean", "std"}
    assert Preprocess.from_metadata({}) == Preprocess(224)
    assert Preprocess.from_metadata({}, Preprocess(31, mean=(0, 0, 0))) == Preprocess(
        31, mean=(0, 0, 0)
    )


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Preprocess)])
def test_each_field_is_told_and_read_again(field):
    one = dataclasses.replace(Preprocess(31, "longest"), **{field: getattr(UNUSUAL, field)})
    assert Preprocess.from_metadata(one.metadata()) == one
    assert Preprocess.from_metadata(UNUSUAL.metadata()) == UNUSUAL


def test_what_makes_no_difference_is_equal():
    assert Preprocess(31, size=31) == Preprocess(31.0, fill=9) == Preprocess(31)
    assert Preprocess(31, "none", size=7) == Preprocess(31, "none")
    assert hash(Preprocess(31, mean=list(CLIP_MEAN))) == hash(Preprocess(31))
    assert Preprocess(224, size=256).at(112) == Preprocess(112, size=128)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("resolution", 3.5, "found 3.5, expected a whole number of at least 1"),
        ("resolution", float("nan"), "found nan, expected a whole number"),
        ("preprocess_resize", "stretch", "found 'stretch', expected one of shortest, longest"),
        ("preprocess_size", 0, "found 0, expected a whole number of at least 1"),
        ("preprocess_interpolation", "cubic", "found 'cubic', expected one of nearest"),
        ("preprocess_fill", 256, "found 256, expected a whole number from 0 to 255"),
        ("preprocess_rescale", 0, "found 0, expected a number above 0"),
        ("preprocess_pipeline", "tf", "found 'tf', expected one of torchvision, transformers"),
        ("mean", [True, 0, 0], "expected three numbers of at least 0"),
        ("std", [1, 1, 0], "expected three numbers of at least 1e-06"),
    ],
)
def test_a_value_that_cannot_be_is_named_by_its_key(key, value, words):
    with pytest.raises(ConfigError, match=f"^metadata {key}: .*{words}"):
        Preprocess.from_metadata({key: value})


def test_steps_are_told_in_their_order():
    ours, theirs = Preprocess(31, "squash").steps(), UNUSUAL.steps()
    assert ours[0].startswith("resize with Pillow's BICUBIC to 31 x 31") and len(ours) == 4
    assert theirs[0] == "convert to RGB" and "LANCZOS" in theirs[1] and "round down" in theirs[2]
    assert "multiply by 0.00784313725" in UNUSUAL.describe()


def test_the_old_functions_warn_and_give_the_same():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8))
    calls = {
        "preprocess": lambda f: f(image, 5),
        "preprocess_batch": lambda f: f([image], 5)[0],
        "normalise": lambda f: f(Preprocess(5).square(image)),
    }
    for name, call in calls.items():
        with pytest.warns(DeprecationWarning, match=f"^{name}: use"):
            found = call(getattr(nnclip.image, name))
        assert np.array_equal(found, Preprocess(5)(image))
    with pytest.warns(DeprecationWarning, match="^normalise_planes: use"):
        found = nnclip.image.normalise_planes(
            np.zeros((1, 3, 2, 2), np.uint8), (0, 0, 0), (1, 1, 1)
        )
    assert not found.any()
    with pytest.warns(DeprecationWarning, match="^random_resized_crop: use"):
        part = nnclip.image.random_resized_crop(image, 5, np.random.default_rng(1))
    assert part.tobytes() == Preprocess(5).random_crop(image, np.random.default_rng(1)).tobytes()
