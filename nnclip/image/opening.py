"""Reads image files, damaged and hostile ones among them."""

import os
from io import BytesIO
from pathlib import Path
from typing import IO, TypeAlias

from PIL import Image, ImageOps

from nnclip.errors import DataError
from nnclip.files import open_regular, shown
from nnclip.image.formats import REFUSED, known_otherwise

ImageSource: TypeAlias = str | Path | bytes | BytesIO | Image.Image

MAX_PIXELS = 89_478_485  # Pillow's own limit: 256 MiB of RGB
MAX_BYTES = 1 << 29  # of one file: more than so many pixels take without compression


def open_image(
    source: ImageSource, *, max_pixels: int = MAX_PIXELS, as_seen: bool = False, name: str = ""
) -> Image.Image:
    """Read an image, all of it: what this returns can be preprocessed without further errors.

    Args:
        source: the path of a regular file, the bytes of a file, an open `BytesIO`, or an image
            already open.
        max_pixels: larger images are refused before they are decoded. Pillow refuses above
            `PIL.Image.MAX_IMAGE_PIXELS` whatever is given here.
        as_seen: give the image as viewers show it: turned upright as its EXIF tag says, 16-bit
            grey scaled to 8 bits. CLIP was trained without either: its pipeline leaves images
            lying on their side, and clips 16-bit grey at 255, which makes nearly all of it white.
        name: what errors call bytes.

    Returns:
        The image in its own mode; of an animation, the first frame.

    Raises:
        DataError: no such file, no regular file, more than MAX_BYTES, not an image, a format that
            is not opened (`formats.REFUSED`), a damaged image, or one that is too large.
    """
    if isinstance(source, Image.Image):
        return _loaded(source, "the image", max_pixels, as_seen)
    if isinstance(source, bytes):
        source = BytesIO(source)
    if isinstance(source, BytesIO):
        name = shown(name) or f"a file of {source.getbuffer().nbytes} bytes"
        return _read(source, name, max_pixels, as_seen)
    if not isinstance(source, (str, Path)):
        raise DataError(
            f"an image is {type(source).__name__}, expected a path, bytes, BytesIO or PIL.Image"
        )
    name = shown(source)
    try:
        with open_regular(source) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise DataError(
                    f"{name}: found {size / 2**20:,.0f} MB, expected an image of at most "
                    f"{MAX_BYTES >> 20} MB"
                )
            return _read(file, name, max_pixels, as_seen)
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot read {name}: {error}") from error  # a zero byte


def _read(file: IO[bytes], name: str, max_pixels: int, as_seen: bool) -> Image.Image:
    try:
        image = Image.open(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name} is too large for Pillow: {error}") from error
    except Exception as error:  # a hostile file makes Pillow's readers raise almost anything
        file.seek(0)
        if kind := known_otherwise(file.read(16)):
            raise DataError(f"{name} is {kind}") from error
        raise DataError(f"{name} is not an image: no known format fits its content") from error
    if image.format in REFUSED:
        raise DataError(f"{name} is {REFUSED[image.format]}; expected an image made of pixels")
    return _loaded(image, name, max_pixels, as_seen)


def _loaded(image: Image.Image, name: str, max_pixels: int, as_seen: bool) -> Image.Image:
    width, height = image.size
    if not 0 < width * height <= max_pixels:
        raise DataError(f"{name} has {width} x {height} pixels, expected 1 to {max_pixels} in all")
    try:
        image.load()
        if as_seen:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16"):
                image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    except Exception as error:  # see _read
        raise DataError(f"{name} is damaged: {error}; is the file complete?") from error
    return image
