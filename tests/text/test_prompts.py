import pytest

from nnclip.errors import DataError
from nnclip.text.prompts import (
    CIFAR10_CLASSES,
    CIFAR100_CLASSES,
    IMAGENET_TEMPLATES,
    PRESETS,
    SIMPLE_TEMPLATES,
    TEMPLATES,
    fill,
    load_class_names,
)


def test_every_name_goes_into_every_template():
    assert fill(["a {}.", "the {}."], ["cat", "dog"]) == [
        ["a cat.", "the cat."],
        ["a dog.", "the dog."],
    ]
    assert fill("a {} {x}", "{cat}") == [["a {cat} {x}"]]


@pytest.mark.parametrize(
    ("templates", "names", "message"),
    [
        ([], ["cat"], "0 templates and 1 class names"),
        (["a {}"], [], "1 templates and 0 class names"),
        (["a cat"], ["cat"], "needs one {}"),
        (["{} {}"], ["cat"], "needs one {}"),
        (["a {}"], ["cat", " "], "class name 1 is empty"),
    ],
)
def test_what_cannot_be_filled_is_refused(templates, names, message):
    with pytest.raises(DataError, match=message):
        fill(templates, names)


def test_templates_and_classes_are_complete():
    assert {name: len(templates) for name, templates in TEMPLATES.items()} == {
        "plain": 1,
        "simple": 18,
        "imagenet": 80,
    }
    for templates in TEMPLATES.values():
        assert len(set(templates)) == len(templates)
        assert len(fill(templates, "cat")[0]) == len(templates)
    assert (CIFAR10_CLASSES[3], len(CIFAR10_CLASSES)) == ("cat", 10)
    assert len(set(CIFAR100_CLASSES)) == 100
    assert list(CIFAR100_CLASSES) == sorted(CIFAR100_CLASSES)
    # By CIFAR-100's own label numbers.
    assert (CIFAR100_CLASSES[1], CIFAR100_CLASSES[78]) == ("aquarium fish", "snake")
    assert (CIFAR100_CLASSES[83], CIFAR100_CLASSES[99]) == ("sweet pepper", "worm")


def test_simple_templates_have_both_articles():
    assert SIMPLE_TEMPLATES[0] == "a photo of a {}."
    assert SIMPLE_TEMPLATES[-1] == "a photo of the big {}."


def test_presets_are_questions_with_several_answers(tokenizer):
    assert "A photo of a person with black hair" in PRESETS["Hair colour"]
    for texts in PRESETS.values():
        assert len({tuple(row) for row in tokenizer(texts).tolist()}) == len(texts) > 3


@pytest.mark.torch
def test_imagenet_templates_are_openais():
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    assert [template("X") for template in OPENAI_IMAGENET_TEMPLATES] == fill(
        IMAGENET_TEMPLATES, "X"
    )[0]


def test_class_names_come_from_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes("\ufefftench\r\n goldfish \n".encode())
    assert load_class_names(path) == ["tench", "goldfish"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        (b"\n\n", "is empty"),
        (b"a\n\nb\n", "line 2 is empty"),
        (b"\xff", "cannot"),
    ],
)
def test_a_file_that_would_shift_labels_is_refused(tmp_path, content, message):
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_class_names(path)
