"""Reads image files, damaged and hostile ones among them: the one way from a file to pixels."""

import os
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import IO, TypeAlias

from PIL import Image

from nnclip.errors import DataError
from nnclip.files import open_regular, shown
from nnclip.image.decoding import open_jpeg, reduce_loaded, reduce_on_load, spare
from nnclip.image.extent import ORIENTATION, SWAPPED, mark_reduced, turned
from nnclip.image.formats import REFUSED, known_otherwise
from nnclip.image.raw import is_raw, open_raw

ImageSource: TypeAlias = str | Path | bytes | BytesIO | Image.Image

MAX_PIXELS = 89_478_485  # Pillow's own limit: 256 MiB of RGB
MAX_BYTES = 1 << 29  # of one file: more than so many pixels take without compression
LARGER = 4  # times as many pixels may a file have whose decoder leaves most of them out
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class _Wanted:
    """What `open_image` is asked for; see there."""

    side: int | None
    of: str
    as_seen: bool
    max_pixels: int


def open_image(
    source: ImageSource,
    *,
    side: int | None = None,
    of: str = "shortest",
    as_seen: bool = True,
    max_pixels: int = MAX_PIXELS,
    name: str = "",
) -> Image.Image:
    """Read an image, all of it: what this returns can be preprocessed without further errors.

    Args:
        source: the path of a regular file, the bytes of a file, an open `BytesIO`, or an image
            already open, of which every pixel is taken.
        side: pixels that a side of the image is going to be resized to. A file that holds more is
            decoded to fewer, at least twice as many as these. None for every pixel.
        of: which side that is, "shortest" or "longest".
        as_seen: give the image as viewers show it, see `Decoding`. CLIP was trained without: its
            pipeline leaves images lying on their side.
        max_pixels: larger images are refused before they are decoded; of files that are decoded to
            fewer pixels, these count, and LARGER times as many in the file. Pillow refuses formats
            other than JPEG above `PIL.Image.MAX_IMAGE_PIXELS` whatever is given here.
        name: what errors call bytes.

    Returns:
        The image in its own mode; of an animation or of several pages, the first.

    Raises:
        DataError: no such file, no regular file, more than MAX_BYTES, not an image, a format that
            is not opened (`formats.REFUSED`), a damaged image, or one that is too large.
    """
    wanted = _Wanted(side, of, as_seen, max_pixels)
    if isinstance(source, Image.Image):
        return _loaded(source, "the image", replace(wanted, side=None))  # it is the caller's
    if isinstance(source, bytes):
        source = BytesIO(source)
    if isinstance(source, BytesIO):
        name = shown(name) or f"a file of {source.getbuffer().nbytes} bytes"
        return _read(source, name, wanted)
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
            return _read(file, name, wanted)
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot read {name}: {error}") from error  # a zero byte


def seen_size(content: bytes) -> tuple[int, int]:
    """Width and height of an image that `open_image` has read, as seen; nothing is decoded."""
    with opened(BytesIO(content)) as image:
        return image.size[::-1] if image.getexif().get(ORIENTATION) in SWAPPED else image.size


def _read(file: IO[bytes], name: str, wanted: _Wanted) -> Image.Image:
    try:
        image = opened(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name} is too large for Pillow: {error}") from error
    except Exception as error:  # a hostile file makes Pillow's readers raise almost anything
        if kind := known_otherwise(file):
            raise DataError(f"{name} is {kind}") from error
        raise DataError(f"{name} is not an image: no known format fits its content") from error
    if image.format in REFUSED:
        raise DataError(f"{name} is {REFUSED[image.format]}; expected an image made of pixels")
    return _loaded(image, name, wanted)


def opened(file: IO[bytes]) -> Image.Image:
    """As `Image.open`: nothing is decoded. JPEGs of any size and cameras' raw files, too."""
    file.seek(0)
    if file.read(len(_JPEG)) == _JPEG:
        return open_jpeg(file)
    return open_raw(file) if is_raw(file) else Image.open(file)


def _loaded(image: Image.Image, name: str, wanted: _Wanted) -> Image.Image:
    stored = image.size
    try:
        on_load = reduce_on_load(image, spare(stored, wanted.side, wanted.of))
        # a progressive JPEG is held whole in memory, however few pixels it gives
        decoded = stored if image.info.get("progressive") else image.size
        _check_size(name, stored, decoded, wanted.max_pixels)
        image.load()
        if wanted.as_seen and image.mode.startswith("I;16"):
            image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
        image, later = reduce_loaded(image, spare(image.size, wanted.side, wanted.of))
        if on_load * later > 1:
            mark_reduced(image, stored, on_load * later)
        return turned(image) if wanted.as_seen else image
    except DataError:
        raise
    except Exception as error:  # see _read
        raise DataError(f"{name} is damaged: {error}; is the file complete?") from error


def _check_size(
    name: str, stored: tuple[int, int], decoded: tuple[int, int], max_pixels: int
) -> None:
    sizes = [width * height for width, height in (stored, decoded)]
    if not (0 < sizes[0] <= LARGER * max_pixels and sizes[1] <= max_pixels):
        raise DataError(
            f"{name} has {stored[0]} x {stored[1]} pixels, expected 1 to {max_pixels} in all"
        )
