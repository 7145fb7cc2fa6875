"""WebDataset shards: members of a .tar file that share a name up to its first dot.

The shards are indexed, not streamed: nothing is unpacked, each image is read where it lies.
"""

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import IO, Any

from nnclip.errors import DataError
from nnclip.files import open_regular, shown
from nnclip.image.formats import BEGINNING, begins_as_image, image_suffixes
from nnclip.sources.captions import CAPTION_FILES, LONGEST, parse_captions
from nnclip.sources.reader import Reader
from nnclip.sources.sample import Ask, Found, Sample

CLASS_FILE = ".cls"
PACKED = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


class _Bounded:
    """A file whose reads have a limit: the header of a damaged member may ask for any amount."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek, self.tell, self._file = file.seek, file.tell, file

    def read(self, size: int) -> bytes:
        if size > LONGEST:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)


def shard_paths(source: str) -> list[Path]:
    """The shards that a .tar file, a folder of them or a brace pattern stands for; maybe none."""
    if os.path.isdir(source):
        return sorted(Path(source).glob("*.tar"))
    if not source.lower().endswith(PACKED):
        return []
    match = _BRACES.search(source)
    if match is None:
        return [Path(source)]
    first, last = match.groups()
    numbers = range(int(first), int(last) + 1)
    return [Path(source.replace(match[0], str(n).zfill(len(first)))) for n in numbers]


def read(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """The images of one shard or of several."""
    for path in shard_paths(source):
        yield from read_shard(str(path), ask, found)


def read_shard(path: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """The images of a shard.

    Where captions are wanted, `0001.jpg` is an image and `0001.mask.png` is none; of several images
    the last counts. Else every member that ends like an image is one.

    Raises:
        DataError: the shard is missing, compressed or damaged.
    """
    try:
        with (
            open_regular(path) as file,
            tarfile.open(fileobj=_Bounded(file), mode="r:") as shard,  # type: ignore[call-overload]
        ):
            yield from _samples(path, shard, ask, found)
    except (OSError, tarfile.TarError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{shown(path)}: cannot be read as a tar file ({error}), expected one without "
            "compression"
        ) from error


def _samples(path: str, shard: tarfile.TarFile, ask: Ask, found: Found) -> Iterator[Sample]:
    suffixes, key = image_suffixes(), ""
    images, said = list[tarfile.TarInfo](), dict[str, Any]()
    for member in shard:
        if member.isdir():
            continue
        folder, _, name = member.name.rpartition("/")
        stem, _, extension = name.partition(".")
        if f"{folder}/{stem}" != key:
            yield from _group(path, images, said)
            key, images, said = f"{folder}/{stem}", [], {}
        suffix = f".{extension.lower()}" if ask.captions else PurePath(name).suffix.lower()
        if not member.isreg() or member.issparse():
            found.not_read["links and special files in tar files"] += 1
        elif suffix in suffixes or (suffix in ("", ".") and _is_image(shard, member)):
            if ask.captions and images:
                found.not_read.file(images.pop().name)
            images.append(member)
        elif ask.captions and suffix in CAPTION_FILES and member.size <= LONGEST:
            captions = parse_captions(suffix, _content(shard, member), found.not_read)
            if len(captions) > len(said.get("captions", ())):
                said["captions"] = captions
        elif ask.labels and suffix == CLASS_FILE and member.size <= LONGEST:
            said["label"] = _content(shard, member).decode("utf-8", "replace").strip()
        else:
            found.not_read.file(name)
    yield from _group(path, images, said)


def _group(path: str, images: list[tarfile.TarInfo], said: dict[str, Any]) -> Iterator[Sample]:
    for member in images:
        yield Sample(path, member.offset_data, member.size, member.name, **said)


def _is_image(shard: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
    """By its beginning."""
    file = shard.extractfile(member)
    return file is not None and begins_as_image(file.read(BEGINNING))


def _content(shard: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = shard.extractfile(member)
    return file.read() if file else b""


def _claims(source: str, _: Ask) -> bool:
    return source.lower().endswith(PACKED) and not os.path.isdir(source)


SHARDS = Reader("shards", "a .tar file, or several (x-{000..009}.tar)", _claims, read)
