"""Images of collections that a browser may ask for: those that an answer has shown, by a token."""

import hashlib
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

from PIL import Image

from nnclip.errors import DataError
from nnclip.files import shown
from nnclip.image.opening import opened
from nnclip.service.images import GONE, image_at, open_checked
from nnclip.service.searched import Hit, Searched
from nnclip.service.thumbnails import Thumbnails
from nnclip.service.values import kind

REMEMBERED = 50_000  # some 50 MB
SMALL, LARGE = 320, 1600  # pixels of what can be asked for beside the file itself
OPAQUE = "application/octet-stream"
# formats that a browser shows -> their content type
SHOWN = {
    "JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp",
    "GIF": "image/gif", "AVIF": "image/avif", "BMP": "image/bmp",
}  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """An image of a collection."""

    collection: Searched
    hit: Hit


class File(NamedTuple):
    """What is sent: the bytes, their content type and a name to save them under."""

    content: bytes
    kind: str
    name: str


class Photos:
    """Tokens of images; for several threads."""

    def __init__(self, thumbnails: Thumbnails, owner: bool = False) -> None:
        """Know none yet; `owner` says whether the owner alone is asking."""
        self._thumbnails, self._owner = thumbnails, owner
        self._key = secrets.token_bytes(32)  # nobody else can make a token
        self._known: OrderedDict[str, Photo] = OrderedDict()
        self._lock = threading.Lock()

    def token(self, collection: Searched, hit: Hit) -> str:
        """The token of an image, the same every time; the REMEMBERED last ones are known."""
        told = f"{collection.name}\0{hit.image}\0{hit.path!r}".encode("utf-8", "surrogateescape")
        token = hashlib.blake2b(told, digest_size=16, key=self._key).hexdigest()
        with self._lock:
            self._known[token] = Photo(collection, hit)
            self._known.move_to_end(token)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return token

    def path(self, collection: Searched, hit: Hit) -> str:
        """Where an image lies: for visitors from its source on, for the owner the whole path."""
        return shown(hit.image) if self._owner else collection.within(hit.image)

    def find(self, token: object) -> Photo:
        """The image of a token.

        Raises:
            DataError: no such token, or its file is a link out of the collection.
        """
        if not isinstance(token, str):
            raise DataError(f"token: found {kind(token)}, expected a text")
        with self._lock:
            photo = self._known.get(token)
        if photo is None or not photo.collection.holds(photo.hit.path):
            raise DataError(GONE)
        return photo

    def small(self, token: str, side: int) -> File:
        """A WebP of it; DataError as `find`, or if it cannot be read."""
        photo = self.find(token)
        content = self._thumbnails.get(image_at(photo.hit.path), side)
        return File(content, "image/webp", f"{photo.hit.name}.webp")

    def original(self, token: str) -> File:
        """The file itself, once it has proved to be an image; DataError as `small`."""
        photo = self.find(token)
        source = image_at(photo.hit.path)
        content = source.read()
        open_checked(source, longest=SMALL)
        try:
            with opened(BytesIO(content)) as image:
                form = image.format or ""
        except (OSError, Image.DecompressionBombError) as error:
            raise DataError(GONE) from error
        return File(content, SHOWN.get(form, OPAQUE), photo.hit.name)
