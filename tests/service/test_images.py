import io
import os

import pytest
from PIL import Image

from nnclip.errors import DataError
from nnclip.image import Preprocess
from nnclip.service import images
from nnclip.service.images import ImageBytes, ImageFile, StoredImage, image_at, open_checked
from nnclip.sources import Sample


@pytest.fixture
def save(tmp_path):
    def write(content: bytes):
        path = tmp_path / "upload"
        path.write_bytes(content)
        return path

    return write


def png(size, mode="RGB", **options):
    file = io.BytesIO()
    Image.new(mode, size, 1).save(file, "PNG", **options)
    return file.getvalue()


def test_an_image_is_read_from_a_file_and_from_bytes(save):
    content = png((30, 20))
    for source in (ImageFile.find(save(content)), ImageBytes(content)):
        assert open_checked(source).size == (30, 20)


BAD = [
    (b"", "empty file"),
    (b"no image at all", "not an image"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
    (png((300, 300))[:200], "damaged"),
    (png((7000, 6000), "1"), "42000000|7000 x 6000"),
]


@pytest.mark.parametrize(("content", "sentence"), BAD)
def test_bad_files_are_refused_without_naming_a_path(save, content, sentence):
    path = save(content)
    for source in (ImageFile.find(path), ImageBytes(content)):
        with pytest.raises(DataError, match=sentence) as caught:
            open_checked(source)
        assert str(path.parent) not in str(caught.value)


def test_of_a_large_file_one_byte_too_many_is_read(save, monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    source = ImageFile.find(save(png((100, 100)) + b"\0" * 1000))
    assert len(source.read()) == 101
    with pytest.raises(DataError, match="at most"):
        open_checked(source)


def test_a_file_that_is_gone_or_was_replaced_is_told(tmp_path, save):
    with pytest.raises(DataError, match="choose it again"):
        ImageFile.find(tmp_path / "gone")
    path = save(png((3, 2)))
    source = ImageFile.find(path)
    path.unlink()
    with pytest.raises(DataError, match="choose it again"):
        source.read()
    path.symlink_to("/etc/hostname")
    with pytest.raises(DataError, match="choose it again"):
        source.read()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="special file"):
        source.read()


def test_a_visitors_photo_counts_as_it_is_decoded(save, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 5000)
    file = io.BytesIO()
    Image.new("RGB", (160, 120), "red").save(file, "JPEG")
    source = ImageBytes(file.getvalue())
    assert open_checked(source, Preprocess(10)).size == (40, 30)
    assert open_checked(source, longest=15).size == (40, 30)
    for content, prepare in ((file.getvalue(), None), (png((160, 120)), Preprocess(10))):
        with pytest.raises(DataError, match="160 x 120 pixels, expected 1 to 5000"):
            open_checked(ImageBytes(content), prepare)


def test_the_owners_images_have_the_owners_limits(save, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 5000)
    monkeypatch.setattr(images, "MAX_BYTES", 200)
    path = save(png((160, 120), compress_level=0))
    assert open_checked(image_at(path)).size == (160, 120)
    member = StoredImage(Sample(str(path), 0, path.stat().st_size, "a.png"), 0)
    assert open_checked(member).size == (160, 120)
    with pytest.raises(DataError, match="expected an image of at most"):
        open_checked(ImageFile.find(path))


def test_keys_tell_images_apart(save):
    one, same, other = png((3, 2)), png((3, 2)), png((2, 3))
    assert ImageBytes(one).key == ImageBytes(same).key != ImageBytes(other).key
    before = ImageFile.find(save(one))
    os.utime(before.path, ns=(1, 1))
    assert ImageFile.find(before.path).key != before.key
