"""What is to be embedded: pictures of folders, tables and tar files, each with its own name."""

import logging
import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnclip.errors import DataError
from nnclip.files import open_regular, read_regular
from nnclip.image import MAX_BYTES, image_suffixes, picture_files, picture_root, read_rows

logger = logging.getLogger(__name__)

COLUMN = "filepath"


@dataclass(frozen=True)
class Item:
    """A picture that can be read.

    Attributes:
        image: its name: the file's absolute path, or the tar file's, a slash and the member's name.
        path: the file to open.
        offset: where the picture starts in a tar file.
        size: its length there in bytes; -1 for a file of its own.
    """

    image: str
    path: str
    offset: int = 0
    size: int = -1

    def read(self) -> tuple[bytes, int]:
        """The picture's bytes, and when its file was changed, in ns; DataError if it cannot."""
        try:
            with open_regular(self.path) as file:
                changed = os.fstat(file.fileno()).st_mtime_ns
            return read_regular(self.path, MAX_BYTES, self.offset, self.size), changed
        except OSError as error:
            raise DataError(f"cannot read {self.image}: {error.strerror or error}") from error


def list_items(sources: Sequence[str], column: str = COLUMN) -> list[Item]:
    """The pictures of all sources, each once, in the order of the sources.

    Args:
        sources: folders (all pictures in them and below; their .tar files where there are none),
            picture files, uncompressed .tar files, tables with a header.
        column: of a table, the one that holds paths.

    Raises:
        DataError: a source does not exist, cannot be read, or holds no picture.
    """
    found: dict[str, Item] = {}
    for source in sources:
        items = list(_items(Path(source), column))
        if not items:
            raise DataError(
                f"{source}: found no picture in it, expected files that end in "
                f"{', '.join(sorted(image_suffixes()))}"
            )
        for item in items:
            if _nameable(item.image):
                found.setdefault(item.image, item)
    return list(found.values())


def _nameable(name: str) -> bool:
    """Whether a table can hold the name."""
    try:
        name.encode()
    except UnicodeEncodeError:
        logger.warning("%r is left out: its name is not UTF-8; rename it", name)
        return False
    return True


def _items(source: Path, column: str) -> Iterable[Item]:
    if source.is_dir():
        files = picture_files(source)
        if files:
            return map(_file, files)
        return (item for shard in sorted(source.glob("*.tar")) for item in _members(shard))
    if not source.is_file():
        raise DataError(f"{source}: found no such file or folder, expected pictures")
    if source.suffix.lower() in image_suffixes():
        return [_file(source)]
    if source.suffix == ".tar":
        return _members(source)
    return _rows(source, column)


def _file(path: Path) -> Item:
    name = os.path.abspath(path)
    return Item(name, name)


def _rows(table: Path, column: str) -> Iterable[Item]:
    rows = read_rows(table, (column,))
    root = picture_root(table, rows[0][column])
    return (_file(root / row[column]) for row in rows)


def _members(shard: Path) -> Iterable[Item]:
    """The pictures of a tar file, where they lie in it; nothing is unpacked."""
    path = os.path.abspath(shard)
    try:
        with tarfile.open(path, "r:") as file:
            return [
                Item(f"{path}/{member.name}", path, member.offset_data, member.size)
                for member in file
                if member.isfile() and Path(member.name).suffix.lower() in image_suffixes()
            ]
    except (OSError, tarfile.TarError) as error:
        raise DataError(
            f"{shard}: cannot be read as a tar file ({error}), expected one without compression"
        ) from error
