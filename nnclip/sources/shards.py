"""WebDataset shards: members of a .tar file that share a name up to its first dot.

Where no member of such a name is an image by all that follows the dot (`r.v2.jpg`), names end at
their last dot. The shards are indexed, not streamed: nothing is unpacked, each image is read where
it lies, wherever in the file the members of its name are.
"""

import os
import tarfile
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from pathlib import Path, PurePath
from typing import IO

from nnclip.errors import DataError
from nnclip.files import open_regular, shown
from nnclip.image.formats import BEGINNING, MACOS_START, begins_as_image, image_suffixes
from nnclip.sources.captions import CAPTION_FILES, LONGEST, best, parse_captions
from nnclip.sources.places import expanded
from nnclip.sources.reader import Reader
from nnclip.sources.sample import Ask, Found, Sample

CLASS_FILE = ".cls"
BEHIND = 1 << 20  # bytes after the end that must be zero: writers fill up their last record
PACKED = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")


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
    return expanded(source) if source.lower().endswith(PACKED) else []


def read(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """The images of one shard or of several."""
    yield from read_shards(shard_paths(source), ask, found)


def read_shards(paths: Sequence[Path], ask: Ask, found: Found) -> Iterator[Sample]:
    """The images of shards, in their order."""
    kinds = Counter[str]()
    for path in paths:
        yield from _read_shard(str(path), ask, found, kinds)
    of = ", ".join(kind for kind in CAPTION_FILES if kinds[kind])
    found.told = (
        f"{len(paths)} WebDataset shard{'' if len(paths) == 1 else 's'}: captions from {of}"
    )


def _read_shard(path: str, ask: Ask, found: Found, kinds: Counter[str]) -> Iterator[Sample]:
    """The images of a shard.

    Where captions are wanted, `0001.jpg` is an image and `0001.mask.png` is none; of several images
    the last counts. Else every member that ends like an image is one.

    Raises:
        DataError: the shard is missing, compressed or damaged.
    """
    try:
        if os.path.getsize(path) == 0 and os.path.isfile(path):
            found.not_read["empty .tar"] += 1
            return
        with (
            open_regular(path) as file,
            tarfile.open(fileobj=_Bounded(file), mode="r:") as shard,  # type: ignore[call-overload]
        ):
            members = list(_members(shard, found))
            _check_end(path, file, shard.offset)
            images = {member.name for member in members if _is_image(shard, member)}
            if not ask.captions:
                yield from _all_images(path, shard, members, images, ask, found)
                return
            for group in _groups(members, images).values():
                yield from _sample(path, shard, group, images, found, kinds)
    except (OSError, tarfile.TarError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        hint = f": gunzip {shown(path)}" if path.lower().endswith(("gz", "tgz")) else ""
        raise DataError(
            f"{shown(path)}: cannot be read as a tar file ({error}), expected one without "
            f"compression{hint}"
        ) from error


def _members(shard: tarfile.TarFile, found: Found) -> Iterator[tarfile.TarInfo]:
    """The regular files; of equal names the last, as whoever unpacks it finds."""
    regular: dict[str, tarfile.TarInfo] = {}
    for member in shard:
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            found.not_read["links and special files in tar files"] += 1
        elif PurePath(member.name).name.startswith(MACOS_START):
            found.not_read.file(member.name)
        else:
            if member.name in regular:
                found.not_read[f"{PurePath(member.name).suffix} written over"] += 1
            regular[member.name] = member
    yield from regular.values()


def _check_end(path: str, file: IO[bytes], offset: int) -> None:
    """Python's reader takes a damaged header for the end, and reads no further than the first."""
    file.seek(offset)
    if any(file.read(tarfile.BLOCKSIZE)):
        raise DataError(
            f"{shown(path)}: is damaged at byte {offset:,}, where a member should begin; expected "
            "a whole tar file"
        )
    if any(file.read(BEHIND)):
        raise DataError(
            f"{shown(path)}: found more after its end at byte {offset:,} (joined by cat?), "
            "expected one tar file; name its parts instead"
        )


def _key(name: str) -> tuple[str, str]:
    """The name of a sample and the suffix of a member, by its first dot."""
    folder, _, last = name.rpartition("/")
    stem, _, extension = last.partition(".")
    return f"{folder}/{stem}", f".{extension.lower()}"


def _is_image(shard: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
    """By the suffix of its name; without any, by its beginning."""
    if suffix := PurePath(member.name).suffix.lower():
        return suffix in image_suffixes()
    file = shard.extractfile(member)
    return file is not None and begins_as_image(file.read(BEGINNING))


def _groups(
    members: Sequence[tarfile.TarInfo], images: Container[str]
) -> dict[str, dict[str, tarfile.TarInfo]]:
    """Name of a sample -> its members by suffix."""
    whole = image_suffixes() | {"."}  # without a suffix
    keys = [_key(member.name) for member in members if member.name in images]
    plain = {key for key, suffix in keys if suffix in whole}
    groups: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in members:
        key, suffix = _key(member.name)
        if key not in plain:
            path = PurePath(member.name)
            key, suffix = str(path.with_suffix("")), path.suffix.lower()
        groups.setdefault(key, {})[suffix] = member
    return groups


def _all_images(
    path: str,
    shard: tarfile.TarFile,
    members: list[tarfile.TarInfo],
    images: Container[str],
    ask: Ask,
    found: Found,
) -> Iterator[Sample]:
    """Each image apart, with the class that the file beside it says."""
    labels = {}
    for member in members:
        if ask.labels and PurePath(member.name).suffix == CLASS_FILE and member.size <= LONGEST:
            text = _content(shard, member).decode("utf-8", "replace")
            labels[_key(member.name)[0]] = text.strip()
        elif member.name not in images:
            found.not_read.file(member.name)
    for member in members:
        if member.name in images:
            label = labels.get(_key(member.name)[0])
            where = member.offset_data, member.size, member.name
            yield Sample(path, *where, label=label)


def _sample(
    path: str,
    shard: tarfile.TarFile,
    group: dict[str, tarfile.TarInfo],
    images: Container[str],
    found: Found,
    kinds: Counter[str],
) -> Iterator[Sample]:
    """The image of a name and what its other members say."""
    whole = image_suffixes() | {"."}
    image = [it for suffix, it in group.items() if it.name in images and suffix in whole][-1:]
    said = []
    for suffix, member in group.items():
        if image and suffix in CAPTION_FILES and member.size <= LONGEST:
            name = f"{path}/{member.name}"
            said.append((suffix, parse_captions(name, _content(shard, member), found.not_read)))
        elif member not in image:
            found.not_read.file(member.name)
    kind, captions = best(said)
    for it in image:
        kinds[kind] += 1
        yield Sample(path, it.offset_data, it.size, it.name, captions=captions)


def _content(shard: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = shard.extractfile(member)
    return file.read() if file else b""


def _claims(source: str, _: Ask) -> bool:
    return source.lower().endswith(PACKED) and not os.path.isdir(source)


SHARDS = Reader("shards", "a .tar file, or several (x-{000..009}.tar)", _claims, read)
