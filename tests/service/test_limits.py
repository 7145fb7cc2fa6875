import io

import pytest
from PIL import Image

from nnclip.errors import DataError
from nnclip.service import limits
from nnclip.service.limits import checked_picture, checked_template, checked_texts


@pytest.fixture
def save(tmp_path):
    def write(content: bytes):
        path = tmp_path / "upload"
        path.write_bytes(content)
        return path

    return write


def png(size, **options):
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG", **options)
    return file.getvalue()


def test_a_picture_is_read(save):
    assert checked_picture(save(png((30, 20)))).size == (30, 20)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "0.0 MB"),
        (b"no picture at all", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (png((300, 300))[:200], "damaged"),
        (png((7000, 6000)), "42000000|7000 x 6000"),
    ],
)
def test_bad_files_are_refused_without_naming_a_path(save, content, sentence):
    path = save(content)
    with pytest.raises(DataError, match=sentence) as caught:
        checked_picture(path)
    assert str(path.parent) not in str(caught.value)


def test_a_large_file_is_not_even_read(save, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="at most"):
        checked_picture(save(png((100, 100)) + b"\0" * 100))


def test_a_file_that_is_gone_is_told(tmp_path):
    with pytest.raises(DataError, match="choose it again"):
        checked_picture(tmp_path / "gone")


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
