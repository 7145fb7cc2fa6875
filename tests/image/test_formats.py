"""Which files are images: by their suffix, and by their beginning where they have none."""

import logging
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, features

from nnclip.errors import DataError
from nnclip.extras import how
from nnclip.image import Preprocess, image_files, open_image
from nnclip.image.formats import HEIC_SUFFIXES, hint, image_suffixes, is_image_file
from nnclip.image.listing import NotRead
from nnclip.sources import Ask, Found, read_source

SUFFIXES = {
    ".jpg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".JPEG": "JPEG", ".mpo": "MPO", ".png": "PNG",
    ".webp": "WEBP", ".jp2": "JPEG2000", ".j2k": "JPEG2000", ".tif": "TIFF", ".gif": "GIF",
    ".avif": "AVIF", ".bmp": "BMP", ".tga": "TGA", ".ico": "ICO", ".ppm": "PPM",
}  # fmt: skip
NAMELESS = sorted({"JPEG", "MPO", "PNG", "WEBP", "JPEG2000", "TIFF", "GIF", "AVIF"})


def encoded(kind: str, *colours: str) -> bytes:
    """A file of some frames."""
    first, *others = (Image.new("RGB", (64, 48), colour) for colour in colours or ("red",))
    if kind == "MPO" and not others:
        others = [first]
    file = BytesIO()
    first.save(file, kind, **({"save_all": True, "append_images": others} if others else {}))
    return file.getvalue()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_listed_and_read(tmp_path, suffix):
    path = tmp_path / f"photo{suffix}"
    path.write_bytes(encoded(SUFFIXES[suffix]))
    assert image_files(tmp_path) == [path]
    assert [sample.path for sample in read_source(tmp_path, Ask())] == [str(path)]
    red, green, _ = Preprocess(8).open(path).convert("RGB").getpixel((3, 3))
    assert red > 240 and green < 15


@pytest.mark.parametrize("kind", NAMELESS)
def test_an_image_without_a_suffix_is_told_by_its_beginning(tmp_path, kind):
    path = tmp_path / "IMG_0001"
    path.write_bytes(encoded(kind))
    (tmp_path / "Makefile").write_text("all: it is no image\n")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    found = Found()
    assert [sample.path for sample in read_source(tmp_path, Ask(), found)] == [str(path)]
    assert found.not_read == {"without a suffix": 2}
    assert image_files(tmp_path) == [path]
    assert [sample.path for sample in read_source(path, Ask())] == [str(path)]


@pytest.mark.parametrize("captions", [True, False])
def test_a_member_without_a_suffix_too(tmp_path, captions):
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as shard:
        for name, content in (("IMG_1", encoded("JPEG")), ("notes", b"no image at all")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, BytesIO(content))
    found = Found()
    samples = list(read_source(tmp_path / "a.tar", Ask(captions=captions), found))
    assert [sample.member for sample in samples] == ["IMG_1"]
    assert found.not_read == {"without a suffix": 1}


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "MPO", "PNG", "AVIF"])
def test_of_several_frames_or_pages_the_first_is_read(kind):
    image = open_image(encoded(kind, "red", "blue", "lime")).convert("RGB")
    red, _, blue = image.getpixel((5, 5))
    assert red > 240 and blue < 15


def test_heic_without_its_plugin_is_one_sentence_with_the_command(tmp_path, monkeypatch):
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "HEIF"])
    not_read = NotRead()
    for name in ("a.heic", "b.HEIC", "c.mp4"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    image_files(tmp_path, not_read)
    assert not_read.told == f"2 .heic, 1 .mp4 not read; {how('heic')} reads .heic"
    with pytest.raises(DataError, match=r"ends in \.heic, expected") as caught:
        list(read_source(tmp_path / "a.heic", Ask()))
    assert how("heic") in str(caught.value)
    with pytest.raises(DataError, match="is HEIC, which needs a plugin"):
        open_image(tmp_path / "a.heic")


def test_heic_is_read_as_seen_and_reduced(tmp_path):
    import pillow_heif

    assert hint(HEIC_SUFFIXES) == ""
    upright = Image.fromarray(np.linspace(0, 255, 300 * 400 * 3).reshape(300, 400, 3).astype("u1"))
    exif = Image.Exif()
    exif[0x0112] = 6
    heif = pillow_heif.from_pillow(upright.transpose(Image.Transpose.ROTATE_90))
    heif.save(tmp_path / "a.heic", exif=exif.tobytes(), quality=95)
    assert is_image_file(tmp_path / "a.heic")
    (tmp_path / "a.heic").rename(tmp_path / "b")
    assert is_image_file(tmp_path / "b")
    image = Preprocess(32).open(tmp_path / "b")
    assert image.size == (100, 75)
    wanted = np.asarray(upright.resize(image.size)).astype(int)
    assert np.abs(np.asarray(image.convert("RGB")) - wanted).mean() < 6


def test_a_folder_behind_a_link_is_named(tmp_path, caplog):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(encoded("JPEG"))
    (tmp_path / "photos/more").symlink_to(tmp_path)
    not_read = NotRead()
    with caplog.at_level(logging.WARNING):
        assert len(image_files(tmp_path / "photos", not_read)) == 1
    assert not_read == {"linked folder": 1}
    assert not_read.linked == [str(tmp_path / "photos/more")]
    assert f"{tmp_path}/photos/more: a link to a folder" in caplog.text


def test_pillow_reads_what_phones_write():
    assert features.check("avif") and features.check("jpg_2000")
    assert {".jfif", ".jpe", ".mpo", ".jp2", ".avif"} <= image_suffixes()
