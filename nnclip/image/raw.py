"""Cameras' raw files: read as the image that the camera itself made of them.

Nearly all hold a preview, a JPEG of full or half size. It is what viewers show, and reading it
takes no longer than another JPEG. A file without one, or with a small one, is developed at half its
size. LibRaw reads both, by way of rawpy.
"""

from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from typing import IO, Any

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from nnclip.image.decoding import open_jpeg
from nnclip.image.extent import ORIENTATION

RAW_SUFFIXES = frozenset({
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".nef", ".nrw", ".orf", ".pef", ".raf",
    ".rw2", ".srw",
})  # fmt: skip
MAX_DEVELOPED = 1 << 28  # pixels of a sensor
_END = 64  # bytes, by which a preview is found in its file
LEAST = 448  # pixels of a preview's shortest side: twice what most models see
# how files begin that are no TIFF, or no plain one
_STARTS = (
    (0, b"FUJIFILMCCD-RAW"),
    (0, b"IIRO"), (0, b"IIRS"), (0, b"MMOR"),  # Olympus
    (0, b"IIU\0"),  # Panasonic
    (4, b"ftypcrx "), (8, b"CR\x02\0"), (6, b"HEAPCCDR"),  # Canon
)  # fmt: skip
_TIFF = (b"II*\0", b"MM\0*")
_SENSOR = (32803, 34892)  # photometric interpretations: colours in a mosaic, colours of a sensor
_SUBFILE, _PHOTOMETRIC, _MORE, _DNG = 254, 262, 330, 50706  # tags; _MORE: images inside an image
# LibRaw's turns -> EXIF's orientations
_TURNS = {3: 3, 5: 8, 6: 6}
_KEPT = (ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.DateTime)
_DATES = (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized)


@cache
def can_read_raw() -> bool:
    """Whether rawpy is installed; looked for once, since listings ask for each file."""
    try:
        return find_spec("rawpy") is not None
    except ValueError:  # it is hidden
        return False


def begins_as_raw(start: bytes) -> bool:
    """Whether a file is a raw file by its first 16 bytes; those that are a TIFF's tell nothing."""
    return any(start[at:].startswith(mark) for at, mark in _STARTS)


def is_raw(file: IO[bytes]) -> bool:
    """Whether a file is a raw file; it is left at its beginning.

    Most are TIFF files whose first image is a thumbnail, and which Pillow would read as that.
    """
    file.seek(0)
    start = file.read(16)
    found = begins_as_raw(start)
    if not found and start.startswith(_TIFF):
        with suppress(Exception):  # a hostile file makes Pillow's readers raise almost anything
            tags = ImageFileDirectory_v2(start[:8])
            file.seek(tags.next)
            tags.load(file)
            found = (
                _DNG in tags
                or tags.get(_PHOTOMETRIC) in _SENSOR
                or (_MORE in tags and tags.get(_SUBFILE) == 1)
            )
    file.seek(0)
    return found


def open_raw(file: IO[bytes]) -> Image.Image:
    """The preview, not decoded yet, with the raw file's date, camera and place.

    Raises:
        ImportError: rawpy is not installed.
        DecompressionBombError: no large preview, and a sensor of more than MAX_DEVELOPED pixels.
        EOFError: the file ends inside its preview.
        rawpy.LibRawError: LibRaw cannot read the file.
    """
    import rawpy

    file.seek(0)
    content = file.read()
    with rawpy.imread(BytesIO(content)) as raw:
        try:
            data: Any = raw.extract_thumb().data
        except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
            image = None
        else:
            if isinstance(data, bytes) and data[-_END:] not in content:
                raise EOFError("its preview is cut")  # LibRaw fills up with what its memory held
            image = open_jpeg(BytesIO(data)) if isinstance(data, bytes) else Image.fromarray(data)
        if image is None or min(image.size) < LEAST:
            image, turns = _developed(raw), 0  # LibRaw turns it
        else:
            turns = raw.sizes.flip
    _tell(image, content, _TURNS.get(turns))
    return image


def _developed(raw: Any) -> Image.Image:
    """The sensor's values as an image of half their width and height."""
    width, height = raw.sizes.raw_width, raw.sizes.raw_height
    if width * height > MAX_DEVELOPED:
        raise Image.DecompressionBombError(f"its sensor has {width} x {height} pixels")
    return Image.fromarray(raw.postprocess(half_size=True, use_camera_wb=True))


def _tell(image: Image.Image, content: bytes, orientation: int | None) -> None:
    """Write into an image's EXIF what its file says and it does not."""
    exif, whole = image.getexif(), Image.Exif()
    if orientation is not None:
        exif.setdefault(ORIENTATION, orientation)
    if not content.startswith(_TIFF):
        return
    with suppress(Exception):  # see is_raw
        whole.load_from_fp(BytesIO(content))
        for tag in _KEPT:
            if tag in whole:
                exif.setdefault(tag, whole[tag])
        details, place = (whole.get_ifd(ifd) for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))
        for tag in _DATES:  # they are looked for in both places
            if tag in details:
                exif.setdefault(tag, details[tag])
        if place and not exif.get_ifd(ExifTags.IFD.GPSInfo):
            exif.get_ifd(ExifTags.IFD.GPSInfo).update(place)
