"""Images that are asked about: what tells them apart, and their bytes once these are needed."""

import hashlib
import os
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, TypeAlias

from PIL import Image

from nnclip.errors import DataError
from nnclip.files import open_regular
from nnclip.image import MAX_BYTES as OWNERS_BYTES
from nnclip.image import MAX_PIXELS as OWNERS_PIXELS
from nnclip.image import USUAL_DECODING, Decoding, Preprocess, open_image
from nnclip.service.limits import MAX_BYTES, MAX_PIXELS
from nnclip.sources import Sample, stored_bytes

Place: TypeAlias = Path | Sample  # a file, or an image within one

GONE = "this image is no longer on the server: choose it again"


class ImageSource(Protocol):
    """An image that was not opened yet.

    Attributes:
        key: equal for equal images, and only for these.
        own: whether the owner of the server put it there: limits of visitors are not for it.
    """

    @property
    def key(self) -> Hashable: ...  # noqa: D102
    @property
    def own(self) -> bool: ...  # noqa: D102

    def read(self) -> bytes:
        """The bytes of the file, one more than are allowed if it is larger; DataError if gone."""


@dataclass(frozen=True)
class ImageBytes:
    """An image that came as bytes."""

    content: bytes = field(repr=False)
    own: bool = False

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
        own: see `ImageSource`.
    """

    path: Path
    modified: int
    size: int
    own: bool = False

    @classmethod
    def find(cls, path: str | Path, own: bool = False) -> "ImageFile":
        """Look at a file; DataError if there is none, or it is not a regular one.

        The sentence names no path: visitors have not seen it.
        """
        place = Path(os.path.realpath(path))
        with _open(place) as file:
            status = os.fstat(file.fileno())
        return cls(place, status.st_mtime_ns, status.st_size, own)

    @property
    def key(self) -> Hashable:
        """Itself: a file that was changed is another one."""
        return self

    def read(self) -> bytes:
        """The bytes, see `ImageSource`; DataError also if it is no regular file any more."""
        with _open(self.path) as file:
            try:
                return file.read(_most_bytes(self.own) + 1)
            except OSError as error:
                raise DataError(GONE) from error


@dataclass(frozen=True)
class StoredImage:
    """An image within a file: a member of a tar file, or a row of a data set; `image_at` finds it.

    Attributes:
        sample: where it lies.
        modified: when that file was changed, nanoseconds since 1970.
        own: see `ImageSource`.
    """

    sample: Sample
    modified: int
    own: bool = True

    @property
    def key(self) -> Hashable:
        """Itself: an image in a file that was changed is another one."""
        return self

    def read(self) -> bytes:
        """The bytes of an image file; DataError if they are gone, or too many."""
        try:
            return stored_bytes(self.sample)[0]
        except DataError as error:
            raise DataError(GONE) from error


def image_at(place: Place) -> ImageFile | StoredImage:
    """An image of a collection; DataError if its file is gone."""
    if isinstance(place, Path):
        return ImageFile.find(place, own=True)
    try:
        return StoredImage(place, os.stat(place.path).st_mtime_ns)
    except OSError as error:
        raise DataError(GONE) from error


def open_checked(
    source: ImageSource,
    preprocess: Preprocess | None = None,
    decoding: Decoding = USUAL_DECODING,
    *,
    longest: int | None = None,
) -> Image.Image:
    """An image that a visitor gave or asked for, upright.

    Args:
        source: it.
        preprocess: what it is opened for: large images are decoded to no more than that needs.
        decoding: how.
        longest: else, pixels that its longer side is going to have; None for all of them.

    Raises:
        DataError: too many bytes or pixels, damaged, or no image. The sentence names no path.
    """
    content = source.read()
    check_size(len(content), source.own)
    most = OWNERS_PIXELS if source.own else MAX_PIXELS
    if preprocess is not None:
        return preprocess.open(content, decoding, max_pixels=most)
    return open_image(content, side=longest, of="longest", max_pixels=most)


def check_size(size: int, own: bool = False) -> None:
    """DataError if a file has no byte or more than are allowed."""
    most = _most_bytes(own)
    if not 0 < size <= most:
        found = f"more than {most // 2**20} MB" if size else "an empty file"
        raise DataError(f"found {found}, expected an image of at most {most // 2**20} MB")


def _most_bytes(own: bool) -> int:
    return OWNERS_BYTES if own else MAX_BYTES


def _open(path: str | Path) -> IO[bytes]:
    try:
        return open_regular(path, os.O_NOFOLLOW)  # links were resolved when it was found
    except DataError as error:
        raise DataError("found a special file, expected an image") from error
    except (OSError, ValueError) as error:
        raise DataError(GONE) from error
