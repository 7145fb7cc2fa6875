"""What is to be embedded: the images of sources of any kind, each with its own name."""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnclip.errors import DataError
from nnclip.files import shown, to_name, to_path
from nnclip.image import NotRead, image_suffixes
from nnclip.search.roots import is_below
from nnclip.sources import Ask, Found, Sample, read_source, stored_bytes

logger = logging.getLogger(__name__)

COLUMN = "filepath"


@dataclass(frozen=True)
class Item:
    """An image that can be read; its texts are names, which every table can hold.

    Attributes:
        image: its name: the file's absolute path, or the tar file's, a slash and the member's name.
        path: the name of the file to open, see `nnclip.files`.
        offset: where the image starts in that file.
        size: its length there; -1 for a file of its own.
        form: see `nnclip.sources.Stored`.
    """

    image: str
    path: str
    offset: int = 0
    size: int = -1
    form: str = ""

    @property
    def sample(self) -> Sample:
        """Where it lies, by paths."""
        member = self.image.removeprefix(f"{self.path}/") if self.image != self.path else ""
        return Sample(to_path(self.path), self.offset, self.size, to_path(member), self.form)

    def read(self) -> tuple[bytes, int]:
        """The image's bytes, and when its file was changed, in ns; DataError if it cannot."""
        content, status = stored_bytes(self.sample)
        return content, status.st_mtime_ns


def list_items(
    sources: Sequence[str],
    column: str = COLUMN,
    not_read: NotRead | None = None,
    exclude: Sequence[str] | None = None,
) -> list[Item]:
    """The images of all sources, each once, in the order of the sources.

    Args:
        sources: of any kind in `nnclip.sources.READERS`.
        column: of a table, the one that holds the names of images.
        not_read: counts what is passed over.
        exclude: patterns of what folders leave out; None for nothing.

    Raises:
        DataError: a source does not exist, cannot be read, or holds no image.
    """
    items: dict[str, Item] = {}
    ask = Ask(image_key=column, exclude=None if exclude is None else tuple(exclude))
    for source in sources:
        found, some = Found(), False
        for sample in read_source(source, ask, found):
            path = to_name(sample.path)
            item = Item(sample.name, path, sample.offset, sample.size, sample.form)
            items.setdefault(item.image, item)
            some = True
        if not some:
            raise DataError(_nothing(source, found.not_read))
        if not_read is not None:
            not_read.add(found.not_read)
    return list(items.values())


def listed(
    sources: Sequence[str],
    column: str,
    known: Iterable[str],
    not_read: NotRead,
    exclude: Sequence[str] | None,
) -> list[Item]:
    """The images of all sources, without those files and folders that are empty by now.

    Args:
        sources: see `list_items`.
        column: see `list_items`.
        known: names of the images that the collection has.
        not_read: counts what is passed over.
        exclude: see `list_items`.

    Raises:
        DataError: a source is not there at all, and the collection has images of it.
    """
    found: dict[str, Item] = {}
    for source in sources:
        holds = any(is_below(name, to_name(source)) for name in known)
        if _gone(source) or (_is_empty(source) and holds):
            continue
        try:
            items = list_items([source], column, not_read, exclude)
        except DataError as error:
            if os.path.lexists(source):
                raise
            if holds or "{" in source:  # a pattern of several files
                moved = "if it moved: `nnclip relocate EMB OLD NEW`"
                raise DataError(f"{error}. Is a disk not mounted? Or {moved}") from error
            logger.warning(
                "%s: the source is passed over; the collection has no image of it", error
            )
            continue
        for item in items:
            found.setdefault(item.image, item)
    return list(found.values())


def _gone(source: str) -> bool:
    """Whether a source is an image file that is not there any more."""
    return Path(source).suffix.lower() in image_suffixes() and not Path(source).exists()


def _is_empty(source: str) -> bool:
    """Whether a source is a folder without a file, or one that cannot be read."""
    return os.path.isdir(source) and not any(files for _, _, files in os.walk(source))


def _nothing(source: str, not_read: NotRead) -> str:
    what = f"; {not_read.told}" if not_read else ""
    return (
        f"{shown(source)}: found no image in it, expected files that end in "
        f"{', '.join(sorted(image_suffixes()))}{what}"
    )
