"""Small copies of images, made once: kept in a folder of bounded size."""

import hashlib
import io
import logging
import os
import secrets
import threading
from pathlib import Path

from nnclip.errors import DataError
from nnclip.files import shown
from nnclip.service.images import ImageSource, open_checked
from nnclip.service.lru_cache import LRUCache

logger = logging.getLogger(__name__)

MAX_KEPT = 1 << 29  # bytes: some 40,000 of 320 pixels
LEFT = 0.8  # share of them that is left when the folder is full
HELD = 512  # in memory
QUALITY = 80


class Thumbnails:
    """WebP files of images, named by what they were made of; for several threads and processes."""

    def __init__(self, folder: Path | None, most: int = MAX_KEPT) -> None:
        """Keep them in a folder.

        Args:
            folder: made if it is not there; None, or one that cannot be written, keeps the last
                HELD in memory alone.
            most: bytes that the files may have together.
        """
        self._folder, self._most = folder, most
        self._held: LRUCache[bytes] = LRUCache(HELD)
        self._lock = threading.Lock()
        self._bytes: int | None = None  # of the folder, once they were counted

    def get(self, image: ImageSource, side: int) -> bytes:
        """A WebP of an image, upright, its longer side at most `side` pixels; errors as `read`."""
        name = hashlib.blake2b(f"{image!r} {side}".encode(), digest_size=16).hexdigest()
        return self._held.get([name], lambda _: [self._kept(image, side, name)])[0]

    def _kept(self, image: ImageSource, side: int, name: str) -> bytes:
        path = self._folder and self._folder / name[:2] / f"{name}.webp"
        if path:
            try:
                content = path.read_bytes()
                os.utime(path)  # what was used last goes last
            except OSError:
                pass
            else:
                return content
        content = _made(image, side)
        if path:
            self._keep(path, content)
        return content

    def _keep(self, path: Path, content: bytes) -> None:
        """Write a file whole or not at all; where that fails, memory has to do."""
        beside = path.with_suffix(f".{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            beside.write_bytes(content)
            beside.replace(path)
        except OSError as error:
            logger.warning("%s: thumbnails are not kept: %s", shown(path.parent), error.strerror)
            self._folder = None
            return
        with self._lock:
            if self._bytes is None:
                self._bytes = sum(size for _, size, _ in self._files())
            else:
                self._bytes += len(content)
            if self._bytes > self._most:
                self._bytes = self._shrunk()

    def _shrunk(self) -> int:
        """Remove what was not used for longest; the bytes that are left."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= LEFT * self._most:
                break
            Path(path).unlink(missing_ok=True)
            total -= size
        return total

    def _files(self) -> list[tuple[float, int, str]]:
        """Time of use, bytes and path of each."""
        found = []
        for folder, _, names in os.walk(self._folder or ""):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    status = os.stat(path)
                except OSError:  # another process was quicker
                    continue
                found.append((status.st_mtime, status.st_size, path))
        return found


def _made(image: ImageSource, side: int) -> bytes:
    opened = open_checked(image, longest=side)
    opened.thumbnail((side, side))
    file = io.BytesIO()
    try:
        opened.convert("RGB").save(file, "WEBP", quality=QUALITY)
    except (OSError, ValueError) as error:
        raise DataError(f"this image cannot be shown: {error}") from error
    return file.getvalue()
