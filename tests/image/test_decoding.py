"""Large images are decoded to fewer pixels, and give nearly the same; small ones the very same."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from nnclip.errors import DataError
from nnclip.image import OPENAI, Decoding, Preprocess, open_image, seen_size

EXACT = Decoding(exact=True)
FORMATS = {
    "JPEG": {"quality": 95},
    "progressive": {"format": "JPEG", "quality": 95, "progressive": True},
    "MPO": {"quality": 95},
    "PNG": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "JPEG2000": {},
    "one level": {"format": "JPEG2000", "num_resolutions": 2},
    "AVIF": {"quality": 95},
}


def smooth(size: tuple[int, int], seed: int = 0, mode: str = "RGB") -> Image.Image:
    """A drawn image without sharp edges, as photos are when they become smaller."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, name: str, **more: object) -> bytes:
    options = {"format": name, **FORMATS[name], **more}
    if name == "MPO":
        options |= {"save_all": True, "append_images": [image.transpose(Image.Transpose.ROTATE_90)]}
    file = BytesIO()
    image.save(file, **options)
    return file.getvalue()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("resolution", [8, 30])
def test_every_format_is_nearly_what_every_pixel_gives(name, resolution):
    content = encoded(smooth((403, 302)), name)
    prepare = Preprocess(resolution)
    reduced = prepare.open(content)
    assert 2 * resolution <= min(reduced.size) < 4 * resolution
    difference = np.abs(prepare.planes(content).astype(int) - prepare.planes(content, EXACT))
    # JPEG 2000 smooths and takes every n-th pixel, which shifts by less than half a pixel
    assert difference.mean() < (3 if name == "JPEG2000" else 1)


@pytest.mark.parametrize("of", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "JPEG2000"])
def test_at_least_twice_the_wanted_side_remains(of, kind):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        width, height, side = (int(n) for n in rng.integers([1, 1, 1], [200, 200, 40]))
        found = open_image(encoded(smooth((width, height)), kind), side=side, of=of)
        which = max if of == "longest" else min
        assert which(found.size) >= min(2 * side, which(width, height))


@pytest.mark.parametrize("size", [(7, 5), (60, 59), (47, 31)])
def test_images_that_are_not_much_larger_are_the_same_to_the_bit(size):
    for name in ("JPEG", "PNG"):
        content = encoded(smooth(size), name)
        for prepare in (Preprocess(30), Preprocess(30, "squash"), Preprocess(30, "longest")):
            assert np.array_equal(prepare.planes(content), prepare.planes(content, EXACT))


@pytest.mark.parametrize("prepare", [Preprocess(8, "none"), Preprocess(8, interpolation="nearest")])
def test_what_cannot_be_reduced_is_exact(prepare):
    content = encoded(smooth((200, 100)), "JPEG")
    assert np.array_equal(prepare.planes(content), prepare.planes(content, EXACT))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_is_reduced_or_left(mode):
    image = smooth((160, 120))
    image = image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)
    content = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    prepare = Preprocess(10)
    found, exact = prepare.planes(content).astype(int), prepare.planes(content, EXACT)
    assert np.abs(found - exact).mean() < 2
    if mode in ("1", "P"):  # resized without interpolation: the mean of neighbours is another image
        assert np.array_equal(found, exact)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_reduced_images_are_turned_too(orientation, name):
    upright, turns = smooth((240, 160)), Image.Transpose
    back = {
        2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM, 5: turns.TRANSPOSE,
        6: turns.ROTATE_90, 7: turns.TRANSVERSE, 8: turns.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(back[orientation]) if orientation in back else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(stored, name, exif=exif)
    prepare, wanted = Preprocess(16, "squash"), encoded(upright, "PNG")
    difference = np.abs(prepare.planes(content).astype(int) - prepare.planes(wanted, EXACT))
    assert difference.mean() < 2
    if name == "JPEG":
        assert seen_size(content) == upright.size
        lying = prepare.planes(content, OPENAI)
        assert np.array_equal(lying, prepare.planes(encoded_again(content), OPENAI))


def encoded_again(content: bytes) -> bytes:
    """The stored pixels of a file, without a word on how they are turned."""
    file = BytesIO()
    image = Image.open(BytesIO(content))
    Image.fromarray(np.asarray(image)).save(file, "PNG")
    return file.getvalue()


def test_pixels_that_are_not_decoded_do_not_count():
    image = smooth((160, 120))  # 19,200 pixels; an eighth of 160 x 120 are 300, a fourth 1,200
    assert open_image(encoded(image, "JPEG"), side=10, max_pixels=5000).size == (40, 30)
    for content, side in (
        (encoded(image, "JPEG"), None),
        (encoded(image, "progressive"), 10),  # is held whole
        (encoded(image, "PNG"), 10),
        (encoded(smooth((200, 120)), "JPEG"), 10),  # more than four times as many
    ):
        with pytest.raises(DataError, match=r"0 x 120 pixels, expected 1 to 5000 in all"):
            open_image(content, side=side, max_pixels=5000)


def test_photos_beyond_pillows_own_limit_are_read(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert Preprocess(10).planes(encoded(smooth((160, 120)), "JPEG")).shape == (3, 10, 10)
    with pytest.raises(DataError, match="too large for Pillow"):
        Preprocess(10).planes(encoded(smooth((160, 120)), "PNG"))


def test_an_open_image_stays_as_it_is():
    image = Image.open(BytesIO(encoded(smooth((160, 120)), "JPEG")))
    assert open_image(image, side=10).size == image.size == (160, 120)


def test_a_random_crop_has_pixels_enough():
    content = encoded(smooth((800, 600)), "JPEG")
    for share in (0.1, 0.9):
        image = Preprocess(20).open(content, crop=share)
        narrowest = np.sqrt(image.width * image.height * share * 3 / 4)
        assert narrowest >= 2 * 20
    assert min(Preprocess(20).open(content, crop=0.01).size) > min(image.size)


@pytest.mark.parametrize("start", [b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \r\n\x87\n"])
def test_a_damaged_jpeg_2000_is_told(start):
    with pytest.raises(DataError, match=r"is damaged|not an image"):
        open_image(start + b"\0" * 60, side=10)
