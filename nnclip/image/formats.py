"""The formats of image files: what Pillow can open here, without what is no image of pixels."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePath
from typing import IO

from PIL import Image

from nnclip.extras import how
from nnclip.files import open_regular
from nnclip.image.raw import RAW_SUFFIXES, begins_as_raw, can_read_raw, is_raw

with suppress(ImportError):  # photos of telephones, where the plugin is installed
    from pillow_heif import register_heif_opener

    register_heif_opener()

# formats that Pillow knows and that are not opened, and why
REFUSED = {
    "EPS": "PostScript, which a program (Ghostscript) would have to run",
    "PDF": "a document",
    "WMF": "a drawing of lines, which Pillow draws on Windows alone",
    "MPEG": "a film, which Pillow cannot decode",
    "HDF5": "a container of arrays, which Pillow cannot decode",
    "GRIB": "a container of weather data, which Pillow cannot decode",
    "BUFR": "a container of weather data, which Pillow cannot decode",
    "IPTC": "a container of news, which may hold any format",
}
HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif", ".heics", ".heifs"})
MACOS_START = "._"  # of the names of what macOS keeps beside files on foreign disks
BEGINNING = 16  # bytes by which a file without a suffix is told
# formats that these bytes tell from all that is no image
_TOLD = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "AVIF", "HEIF", "JPEG2000")
_READ_AS_JPEG = "MPO"  # images of two lenses: Pillow opens the first as a JPEG
_HEIC = (b"ftyphei", b"ftypmif1", b"ftypmsf1", b"ftyphev")
_STARTS = ((b"%!PS", "EPS"), (b"\xc5\xd0\xd3\xc6", "EPS"), (b"%PDF", "PDF"))


def image_suffixes() -> frozenset[str]:
    """The suffixes of image files, lower case with their dot; plugins of Pillow count."""
    known = Image.registered_extensions()
    found = frozenset(
        suffix
        for suffix, kind in known.items()
        if kind not in REFUSED and (kind in Image.OPEN or kind == _READ_AS_JPEG)
    )
    return found | RAW_SUFFIXES if can_read_raw() else found - RAW_SUFFIXES


def begins_as_image(start: bytes) -> bool:
    """Whether a file is an image by its first BEGINNING bytes; for files without a suffix."""
    Image.init()
    tests = (Image.OPEN[kind][1] for kind in _TOLD if kind in Image.OPEN)
    pillow = any(test is not None and test(start) is True for test in tests)
    return pillow or (begins_as_raw(start) and can_read_raw())


def is_image_file(path: str | Path, suffixes: frozenset[str] | None = None) -> bool:
    """Whether a file is an image by its suffix; without any, by its beginning.

    Args:
        path: what is no regular file, or cannot be read, has no beginning.
        suffixes: from `image_suffixes`, for those who ask often.
    """
    name = PurePath(path).name
    if name.startswith(MACOS_START):
        return False
    if suffix := PurePath(name).suffix.lower():
        return suffix in (image_suffixes() if suffixes is None else suffixes)
    return begins_as_image(_beginning(path))


def _beginning(path: str | Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(BEGINNING)
    except (OSError, ValueError):  # DataError is one
        return b""


def hint(suffixes: Iterable[str]) -> str:
    """What to do so that files of such suffixes are read; "" if nothing helps."""
    told, known = [], image_suffixes()
    for extra, kinds in (("heic", HEIC_SUFFIXES), ("raw", RAW_SUFFIXES)):
        if missing := sorted(kinds.intersection(suffixes) - known):
            told.append(f"{how(extra)} reads {', '.join(missing)}")
    return "; ".join(told)


def known_otherwise(file: IO[bytes]) -> str:
    """What a file is that was not opened, by its beginning; "" if that is not known."""
    if is_raw(file):
        if can_read_raw():
            return "a camera's raw file, which LibRaw cannot read; is it complete?"
        return f"a camera's raw file, which needs a plugin: {how('raw')}"
    start = file.read(BEGINNING)
    for prefix, kind in _STARTS:
        if start.startswith(prefix):
            return REFUSED[kind]
    if start[4:12].startswith(_HEIC):
        if "HEIF" in Image.OPEN:
            return "HEIC, which libheif cannot read; is it complete?"
        return f"HEIC, which needs a plugin: {how('heic')}"
    return ""
