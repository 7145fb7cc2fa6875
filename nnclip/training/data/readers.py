"""Readers of captioned pictures; each is one function that yields pairs.

| source | how it is told |
|---|---|
| table, tab- or comma-separated, with a header | a file |
| COCO captions | a file that ends in .json |
| folder: `name.jpg` with its caption in `name.txt`, or by class, `a dog/1.jpg` | a folder |
| WebDataset shards | a .tar file, a folder of them, or a brace pattern like `x-{000..009}.tar` |
"""

import csv
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from nnclip.errors import DataError
from nnclip.image import dialect_of, picture_root
from nnclip.training.data.pairs import Pair, PairTable

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
CAPTION_FILES = (".txt", ".caption", ".json")


def read_table(
    path: Path, root: Path | None = None, image_key: str = "filepath", caption_key: str = "title"
) -> Iterator[Pair]:
    """Pairs of a table whose first line names its columns.

    Args:
        path: the file; the separator is a tab if its first line holds one, else a comma.
        root: folder that relative picture paths begin in; None for the table's own folder, or the
            current one where the pictures are there.
        image_key: name of the column of paths.
        caption_key: name of the column of captions.

    Raises:
        DataError: the file cannot be read or lacks a column.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, dialect=dialect_of(file))
            names = rows.fieldnames or []
            missing = [key for key in (image_key, caption_key) if key not in names]
            if missing and any(name.startswith(("http://", "https://")) for name in names):
                raise DataError(
                    f"{path}: found a list of addresses, expected a table of pictures; first run "
                    f"python -m nnclip fetch-pairs {path} DIR, then train on DIR/pairs.csv"
                )
            if missing:
                raise DataError(
                    f"{path}: found the columns {', '.join(names) or 'none'}, expected "
                    f"{' and '.join(missing)} too (--csv-img-key, --csv-caption-key)"
                )
            for row in rows:
                picture = (row[image_key] or "").strip()
                if root is None and picture:
                    root = picture_root(path, picture)
                yield Pair(str((root or path.parent) / picture), (row[caption_key] or "",))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table of pairs ({error})") from error


def read_coco(path: Path, root: Path | None = None, every_caption: bool = False) -> Iterator[Pair]:
    """Pairs of a COCO captions file.

    Args:
        path: the JSON file.
        root: folder of the pictures; None for the JSON file's own.
        every_caption: a pair per caption; otherwise a pair per picture with all its captions.

    Raises:
        DataError: the file is not COCO captions.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {image["id"]: image["file_name"] for image in content["images"]}
        captions: dict[int, list[str]] = {number: [] for number in files}
        for note in content["annotations"]:
            captions[note["image_id"]].append(note["caption"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is not a COCO captions file ({error!r})") from error
    for number, file in files.items():
        picture = str((root or path.parent) / file)
        if every_caption:
            for caption in captions[number]:
                yield Pair(picture, (caption,))
        else:
            yield Pair(picture, tuple(captions[number]))


def read_folder(path: Path) -> Iterator[Pair]:
    """Pairs of a folder: a caption file beside the picture, or the name of the picture's folder."""
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() not in PICTURES:
            continue
        beside = [file.with_suffix(s) for s in CAPTION_FILES if file.with_suffix(s).is_file()]
        if beside:
            text = beside[0].read_bytes()
            yield Pair(str(file), _captions(beside[0].suffix, text))
        elif file.parent != path:
            yield Pair(str(file), (file.parent.name.replace("_", " "),))
        else:
            yield Pair(str(file), ())


def read_shards(paths: list[Path]) -> Iterator[Pair]:
    """Pairs of WebDataset shards: members that share a name up to its first dot.

    The shards are indexed, not streamed: each picture is read where it lies, so that an epoch is
    one permutation over all shards.

    Raises:
        DataError: a shard is missing or damaged.
    """
    for path in paths:
        try:
            with tarfile.open(path, "r:") as shard:
                yield from _members(str(path), shard)
        except (OSError, tarfile.TarError) as error:
            raise DataError(f"{path}: cannot be read as a tar shard ({error})") from error


def _members(path: str, shard: tarfile.TarFile) -> Iterator[Pair]:
    key, picture, captions = "", (0, -1), ()  # type: tuple[str, tuple[int, int], tuple[str, ...]]
    for member in shard:
        if not member.isfile():
            continue
        folder, _, name = member.name.rpartition("/")
        stem, _, extension = name.partition(".")
        if f"{folder}/{stem}" != key:
            if picture[1] >= 0:
                yield Pair(path, captions, *picture)
            key, picture, captions = f"{folder}/{stem}", (0, -1), ()
        suffix = "." + extension.lower()
        if suffix in PICTURES:
            picture = member.offset_data, member.size
        elif suffix in CAPTION_FILES:
            found = _captions(suffix, shard.extractfile(member).read())  # type: ignore[union-attr]
            captions = found if len(found) > len(captions) else captions
    if picture[1] >= 0:
        yield Pair(path, captions, *picture)


def _captions(suffix: str, content: bytes) -> tuple[str, ...]:
    """The caption in a file beside a picture."""
    text = content.decode("utf-8", "replace")
    if suffix != ".json":
        return (text,)
    about = json.loads(text)
    captions = about.get("captions", about.get("caption", ""))
    return tuple(map(str, captions)) if isinstance(captions, list) else (str(captions),)


def shard_paths(source: str) -> list[Path]:
    """The shards that a .tar file, a folder of them or a brace pattern stands for; maybe none."""
    if Path(source).is_dir():
        return sorted(Path(source).glob("*.tar"))
    if not source.endswith(".tar"):
        return []
    match = re.search(r"\{(\d+)\.\.(\d+)\}", source)
    if match is None:
        return [Path(source)]
    first, last = match.groups()
    numbers = range(int(first), int(last) + 1)
    return [Path(source.replace(match[0], str(n).zfill(len(first)))) for n in numbers]


def read_pairs(
    source: str,
    root: str | None = None,
    image_key: str = "filepath",
    caption_key: str = "title",
    every_caption: bool = False,
) -> PairTable:
    """The table of any source that this module knows.

    Raises:
        DataError: there is no such source, it is damaged, or holds no captioned picture.
    """
    path, folder = Path(source), Path(root) if root else None
    shards = shard_paths(source)
    try:
        if shards:
            return PairTable(read_shards(shards))
        if path.is_dir():
            return PairTable(read_folder(path))
        if path.suffix == ".json":
            return PairTable(read_coco(path, folder, every_caption))
        return PairTable(read_table(path, folder, image_key, caption_key))
    except DataError as error:
        if source in str(error):
            raise
        raise DataError(f"{source}: {error}") from error
