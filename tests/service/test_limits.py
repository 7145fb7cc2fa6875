import pytest

from nnclip.errors import DataError
from nnclip.service.limits import checked_template, checked_texts


def test_lines_become_categories():
    assert checked_texts("  a  dog \n\na cat\na dog\r\nein\tHund") == ["a dog", "a cat", "ein Hund"]
    assert len(checked_texts(map(str, range(1000)))) == 1000


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("", "no category"),
        (" \n\t\n", "no category"),
        ("\n".join(map(str, range(1001))), "1,001 categories"),
        ("x" * 100_001, "100,001 characters"),
    ],
)
def test_too_few_and_too_many_are_told(lines, sentence):
    with pytest.raises(DataError, match=sentence):
        checked_texts(lines)


def test_templates():
    assert checked_template(None) == checked_template("  ") == "{}"
    assert checked_template("a {} in {brackets}") == "a {} in {brackets}"
    for bad in ("a photo", "{} and {}", "{}" + "x" * 300):
        with pytest.raises(DataError, match=r"one \{\}"):
            checked_template(bad)
