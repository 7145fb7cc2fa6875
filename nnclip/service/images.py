"""Images that are asked about: what tells them apart, and their bytes once these are needed."""

import hashlib
import os
from collections.abc import Hashable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Protocol, TypeAlias

from PIL import Image

from nnclip.errors import DataError
from nnclip.files import open_regular
from nnclip.image import open_image
from nnclip.service.limits import MAX_BYTES, MAX_PIXELS
from nnclip.sources import Sample, stored_bytes

Place: TypeAlias = Path | Sample  # a file, or an image within one

ORIENTATION = 0x0112  # of EXIF
TURNED = 5  # from this orientation on, width and height are exchanged
GONE = "this image is no longer on the server: choose it again"


class ImageSource(Protocol):
    """An image that was not opened yet.

    Attributes:
        key: equal for equal images, and only for these.
    """

    @property
    def key(self) -> Hashable: ...  # noqa: D102

    def read(self) -> bytes:
        """The bytes of the file, MAX_BYTES + 1 where it is larger; DataError if it is gone."""


@dataclass(frozen=True)
class ImageBytes:
    """An image that came as bytes."""

    content: bytes = field(repr=False)

    @property
    def key(self) -> Hashable:
        """A digest."""
        return hashlib.blake2b(self.content, digest_size=16).digest()

    def read(self) -> bytes:
        """The bytes."""
        return self.content


@dataclass(frozen=True)
class ImageFile:
    """A regular file, as it was when it was found; `find` makes one.

    Attributes:
        path: where it is, links resolved.
        modified: nanoseconds since 1970.
        size: bytes.
    """

    path: Path
    modified: int
    size: int

    @classmethod
    def find(cls, path: str | Path) -> "ImageFile":
        """Look at a file; DataError if there is none, or it is not a regular one.

        The sentence names no path: visitors have not seen it.
        """
        place = Path(os.path.realpath(path))
        with _open(place) as file:
            status = os.fstat(file.fileno())
        return cls(place, status.st_mtime_ns, status.st_size)

    @property
    def key(self) -> Hashable:
        """Itself: a file that was changed is another one."""
        return self

    def read(self) -> bytes:
        """At most MAX_BYTES + 1 bytes; DataError if it is gone or no regular file any more."""
        with _open(self.path) as file:
            try:
                return file.read(MAX_BYTES + 1)
            except OSError as error:
                raise DataError(GONE) from error


@dataclass(frozen=True)
class StoredImage:
    """An image within a file: a member of a tar file, or a row of a data set; `image_at` finds it.

    Attributes:
        sample: where it lies.
        modified: when that file was changed, nanoseconds since 1970.
    """

    sample: Sample
    modified: int

    @property
    def key(self) -> Hashable:
        """Itself: an image in a file that was changed is another one."""
        return self

    def read(self) -> bytes:
        """The bytes of an image file; DataError if they are gone, or too many."""
        check_size(self.sample.size)
        try:
            return stored_bytes(self.sample)[0]
        except DataError as error:
            raise DataError(GONE) from error


def image_at(place: Place) -> ImageFile | StoredImage:
    """An image of a collection; DataError if its file is gone."""
    if isinstance(place, Path):
        return ImageFile.find(place)
    try:
        return StoredImage(place, os.stat(place.path).st_mtime_ns)
    except OSError as error:
        raise DataError(GONE) from error


def open_checked(source: ImageSource) -> Image.Image:
    """An image that a visitor gave or asked for, upright.

    Raises:
        DataError: too many bytes or pixels, damaged, or no image. The sentence names no path.
    """
    content = source.read()
    check_size(len(content))
    return open_image(content, max_pixels=MAX_PIXELS, as_seen=True)


def image_size(content: bytes) -> tuple[int, int]:
    """Width and height of an image that `open_checked` has read, upright; nothing is decoded."""
    with Image.open(BytesIO(content)) as image:
        turned = image.getexif().get(ORIENTATION, 1) >= TURNED
        return (image.height, image.width) if turned else image.size


def check_size(size: int) -> None:
    """DataError if a file has no byte or more than MAX_BYTES."""
    if not 0 < size <= MAX_BYTES:
        found = f"more than {MAX_BYTES // 2**20} MB" if size else "an empty file"
        raise DataError(f"found {found}, expected an image of at most {MAX_BYTES // 2**20} MB")


def _open(path: str | Path) -> IO[bytes]:
    try:
        return open_regular(path, os.O_NOFOLLOW)  # links were resolved when it was found
    except DataError as error:
        raise DataError("found a special file, expected an image") from error
    except (OSError, ValueError) as error:
        raise DataError(GONE) from error
