"""What an image file says besides its pixels: size, date, camera and place."""

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

from PIL import ExifTags, Image

from nnclip.image.extent import SWAPPED
from nnclip.image.opening import opened

_LONGEST = 200  # characters of a camera's name


@dataclass(frozen=True)
class Facts:
    """What the file says; None where it says nothing.

    Attributes:
        width: pixels, as viewers show the image: turned as its EXIF tag says.
        height: pixels of the same view.
        taken: local time of the camera, "2019-07-01T10:20:30".
        camera: maker and model.
        latitude: degrees of WGS 84; south is negative.
        longitude: degrees; west is negative.
    """

    width: int | None = None
    height: int | None = None
    taken: str | None = None
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None


NOTHING = Facts()


def facts_of(source: bytes | Image.Image) -> Facts:
    """The facts in the bytes of a file, or of an image that is open; nothing is decoded.

    Whatever is damaged is None: the pixels decide whether an image can be used.
    """
    with warnings.catch_warnings():  # Pillow's, about damaged EXIF
        warnings.simplefilter("ignore")
        try:
            image = opened(BytesIO(source)) if isinstance(source, bytes) else source
            return _facts(image)
        except Exception:  # a hostile file makes Pillow's readers raise almost anything
            return NOTHING


def _facts(image: Image.Image) -> Facts:
    width, height = image.size
    try:
        exif = image.getexif()
        if exif.get(ExifTags.Base.Orientation) in SWAPPED:
            width, height = height, width
        details = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
        place = exif.get_ifd(ExifTags.IFD.GPSInfo)
        return Facts(width, height, _taken(details), _camera(details), *_place(place))
    except Exception:  # see facts_of
        return Facts(width, height)


def _taken(tags: Mapping[int, Any]) -> str | None:
    """When it was taken, or scanned, or changed last: the first of these that is a date."""
    Base = ExifTags.Base
    for tag in (Base.DateTimeOriginal, Base.DateTimeDigitized, Base.DateTime):
        text = str(tags.get(tag, "")).strip("\0 ")
        with suppress(ValueError):  # "0000:00:00 00:00:00" where a clock was never set
            return datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S").isoformat()
    return None


def _camera(tags: Mapping[int, Any]) -> str | None:
    """`Canon EOS 5D`: many models name their maker themselves."""
    maker, model = (
        " ".join(str(tags.get(tag) or "").replace("\0", " ").split())
        for tag in (ExifTags.Base.Make, ExifTags.Base.Model)
    )
    if maker and not model.lower().startswith(maker.lower()):
        model = f"{maker} {model}".strip()
    return model[:_LONGEST].encode("utf-8", "replace").decode() or None


def _place(tags: Mapping[int, Any]) -> tuple[float | None, float | None]:
    """Latitude and longitude, both or neither."""
    GPS = ExifTags.GPS
    latitude = _degrees(tags.get(GPS.GPSLatitude), tags.get(GPS.GPSLatitudeRef), 90)
    longitude = _degrees(tags.get(GPS.GPSLongitude), tags.get(GPS.GPSLongitudeRef), 180)
    return (latitude, longitude) if None not in (latitude, longitude) else (None, None)


def _degrees(parts: Any, side: Any, most: float) -> float | None:
    """Degrees, minutes and seconds as one number."""
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    found = round(degrees + minutes / 60 + seconds / 3600, 6)
    if not 0 <= found <= most:  # not NaN either
        return None
    side = side.decode("ascii", "replace") if isinstance(side, bytes) else str(side)
    return -found if side.strip("\0 ")[:1] in ("S", "W") else found
