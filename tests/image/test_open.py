import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from nnclip.errors import DataError
from nnclip.image import open_image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def png(picture) -> bytes:
    return encoded(picture("RGB", (31, 17)))


def test_every_source_gives_the_same_picture(png, tmp_path):
    path = tmp_path / "some image é.png"
    path.write_bytes(png)
    read_to_the_end = BytesIO(png)
    read_to_the_end.read()
    opened = Image.open(BytesIO(png))
    expected = np.asarray(opened)
    for source in (path, str(path), png, BytesIO(png), read_to_the_end, opened):
        assert np.array_equal(np.asarray(open_image(source)), expected)


def test_the_picture_outlives_its_file(tmp_path, picture):
    path = tmp_path / "moving.gif"
    frames = [picture("P", (8, 8), seed) for seed in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    image = open_image(path)
    path.unlink()
    assert np.array_equal(np.asarray(image.convert("RGB")), np.asarray(frames[0].convert("RGB")))


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"not an image at all", b"\x89PNG\r\n\x1a\n"])
def test_no_picture(content, tmp_path):
    with pytest.raises(DataError, match=f"a file of {len(content)} bytes is not an image"):
        open_image(content)
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"notes\.txt is not an image"):
        open_image(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.4, 0.8])
def test_a_truncated_file(picture, kind, share):
    content = encoded(picture("RGB", (64, 64)), kind)
    with pytest.raises(DataError, match=r"is damaged|is not an image"):
        open_image(content[: int(len(content) * share)])


def test_damage_in_the_middle_never_escapes_as_another_error(picture):
    rng = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "ICO", "TGA", "PPM"):
        content = bytearray(encoded(picture("RGB", (32, 32)), kind))
        for _ in range(40):
            broken = bytearray(content)
            for position in rng.integers(0, min(len(broken), 200), 3):
                broken[position] = rng.integers(256)
            try:
                open_image(bytes(broken), max_pixels=10**6)
                outcomes["read"] += 1
            except DataError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 10


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that says it holds side x side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.mark.parametrize(
    ("side", "message"),
    [
        (9000, "9000 x 9000 pixels, expected 1 to 10000"),  # under Pillow's limit
        (11_000, "too large for Pillow"),  # where Pillow warns, an error in these tests
        (60_000, "too large for Pillow"),  # where Pillow refuses
    ],
)
def test_a_decompression_bomb_is_refused_before_it_is_decoded(side, message):
    with pytest.raises(DataError, match=message):
        open_image(bomb(side), max_pixels=10_000)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_where_pillow_only_warns_the_bomb_is_refused_too():
    with pytest.raises(DataError, match="11000 x 11000 pixels"):
        open_image(bomb(11_000))


def test_the_limit_is_the_largest_picture_read(png):
    assert open_image(png, max_pixels=31 * 17).size == (31, 17)
    with pytest.raises(DataError, match="31 x 17 pixels, expected 1 to 526 in all"):
        open_image(png, max_pixels=31 * 17 - 1)


def test_missing_files_folders_and_other_things(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        open_image(tmp_path / "missing.png")
    with pytest.raises(DataError, match="found a folder, expected a regular file"):
        open_image(tmp_path)
    with pytest.raises(DataError, match="an image is int, expected a path"):
        open_image(3)


def test_postscript_starts_no_program():
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(DataError, match="is PostScript"):
        open_image(content)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_followed_unless_the_stored_image_is_asked_for(picture, orientation):
    stored = picture("RGB", (6, 4))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(stored, exif=exif)
    assert np.array_equal(np.asarray(open_image(content, as_seen=False)), np.asarray(stored))
    # What the tag says of the stored rows and columns (Exif 2.3, tag 0x0112).
    pixels = np.asarray(stored)
    upright = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels, 1),
    }[orientation]
    assert np.array_equal(np.asarray(open_image(content)), upright)


def test_sixteen_bits_are_scaled_unless_the_stored_image_is_asked_for():
    values = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    content = encoded(Image.fromarray(values))
    assert np.asarray(open_image(content, as_seen=False)).max() == 65280
    assert np.array_equal(np.asarray(open_image(content)), values // 256)
