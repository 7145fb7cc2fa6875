"""The formats of image files: what Pillow can open here, without what is no image of pixels."""

from contextlib import suppress

from PIL import Image

from nnclip.extras import how

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
_READ_AS_JPEG = "MPO"  # images of two lenses: Pillow opens the first as a JPEG
_HEIC = (b"ftyphei", b"ftypmif1", b"ftypmsf1", b"ftyphev")
_STARTS = ((b"%!PS", "EPS"), (b"\xc5\xd0\xd3\xc6", "EPS"), (b"%PDF", "PDF"))


def image_suffixes() -> frozenset[str]:
    """The suffixes of image files, lower case with their dot; plugins of Pillow count."""
    known = Image.registered_extensions()
    return frozenset(
        suffix
        for suffix, kind in known.items()
        if kind not in REFUSED and (kind in Image.OPEN or kind == _READ_AS_JPEG)
    )


def known_otherwise(start: bytes) -> str:
    """What a file is that Pillow does not open, by its first bytes; "" if that is not known."""
    for prefix, kind in _STARTS:
        if start.startswith(prefix):
            return REFUSED[kind]
    if start[4:12].startswith(_HEIC):
        return f"HEIC, which needs a plugin: {how('heic')}"
    return ""
