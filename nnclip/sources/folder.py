"""Folders of images. One rule for a folder and all below it, the first that fits:

| what is there | caption | class |
|---|---|---|
| `metadata.csv`, `.jsonl` or `.parquet` with `file_name` | its column of captions | - |
| a file beside any image: `a.txt`, `a.caption`, `a.json` | that file, or none | - |
| several folders of images, `hot_dog/a.jpg` | "hot dog" | `hot_dog` |

A folder of nothing but splits (`train`, `test`) stands for the one that is asked for, a folder
without images for the .tar or .parquet files in it.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePath

from nnclip.errors import DataError
from nnclip.files import read_regular, shown, to_name
from nnclip.image.formats import MACOS_START, image_suffixes, is_image_file
from nnclip.image.listing import NotRead, files_below
from nnclip.sources.captions import CAPTION_FILES, LONGEST, best, parse_captions
from nnclip.sources.parquet import SUFFIXES as PARQUET
from nnclip.sources.reader import Reader
from nnclip.sources.rows import CAPTION, Table, column_of
from nnclip.sources.sample import TRAINING, VALIDATION, Ask, Found, Sample
from nnclip.sources.shards import PACKED, read_shards
from nnclip.sources.table import SUFFIXES as TABLES
from nnclip.sources.table import open_table, samples

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"
_VALIDATION = ("val", "valid", "validation", "dev")
SPLITS = {TRAINING: ("train", "training"), VALIDATION: (*_VALIDATION, "test"), "test": ("test",)}
ALL_SPLITS = frozenset(name for names in SPLITS.values() for name in names)


def read(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """The images of a folder and of all below it; see the table above."""
    source, told = _split(source, ask)
    table = _metadata(source) if ask.captions and not ask.labels else None
    if ask.labels:
        yield from _classes(source, ask, found)
    elif table is not None:
        yield from _described(source, table, ask, found)
    else:
        some = False
        for sample in _images(source, ask, found):
            some = True
            yield sample
        if not some:
            yield from _packed(source, ask, found)
    found.told = told + found.told


def _split(source: str, ask: Ask) -> tuple[str, str]:
    """The folder of a split, if there are only those and one is asked for; and what to say."""
    with os.scandir(source) as entries:
        there = [entry for entry in entries if not entry.name.startswith(".")]
    names = sorted(entry.name for entry in there)
    only = all(entry.is_dir() and entry.name.lower() in ALL_SPLITS for entry in there)
    if not ask.split or len(names) < 2 or not only:
        return source, ""
    for wanted in SPLITS.get(ask.split, (ask.split,)):
        for name in names:
            if name.lower() == wanted:
                return os.path.join(source, name), f"the split {name} of {', '.join(names)}, "
    raise DataError(
        f"{shown(source)}: found {', '.join(map(shown, names))}, expected a folder of the "
        f"split {ask.split}; name the folder that is meant"
    )


def _metadata(source: str) -> Table | None:
    """The table of a Hugging Face image folder; None in another folder."""
    root = Path(source)
    places = [root / name for name in METADATA if (root / name).is_file()]
    places = places or sorted(path for name in METADATA for path in root.glob(f"*/{name}"))
    tables = [open_table(path, wanted=(FILE_NAME,)) for path in places]
    tables = [table for table in tables if FILE_NAME in table.columns]
    if len(tables) > 1:
        names = ", ".join(shown(table.path.relative_to(root)) for table in tables)
        raise DataError(f"{shown(source)}: found {names}, expected one; name one of the folders")
    return tables[0] if tables else None


def _described(source: str, table: Table, ask: Ask, found: Found) -> Iterator[Sample]:
    """The images that a Hugging Face image folder's table names."""
    caption = column_of(table, CAPTION, ask.caption_key, (FILE_NAME,))
    named = set[str]()
    root = str(table.path.parent)
    for sample in samples(table, replace(ask, image_key=FILE_NAME, root=root), found):
        named.add(sample.path)
        yield sample
    others, suffixes = 0, image_suffixes()
    for entry in files_below(source, found.not_read, ask.exclude):
        if is_image_file(entry.path, suffixes):
            others += entry.path not in named
        elif not entry.is_dir() and entry.path != str(table.path):
            found.not_read.file(entry.name)
    found.told = (
        f"a Hugging Face image folder: captions from {table.path.relative_to(source)}, column "
        f"{caption}"
    )
    if others:
        plural = "image" if others == 1 else "images"
        found.told += f"; {others:,} {plural} that {table.path.name} does not name left out"


def _classes(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """Each folder in the folder is a class; it may be a link."""
    with os.scandir(source) as entries:
        children = sorted(entries, key=lambda entry: entry.name)
    folders = [child for child in children if child.is_dir()]
    found.classes = tuple(to_name(folder.name) for folder in folders)
    found.name = to_name(PurePath(source).name)
    for child in children:
        if child not in folders:
            found.not_read.file(child.name)
    suffixes = image_suffixes()
    for folder, label in zip(folders, found.classes, strict=True):
        for entry in files_below(folder.path, found.not_read, ask.exclude):
            if is_image_file(entry.path, suffixes):
                yield Sample(entry.path, label=label)
            elif not entry.is_dir():
                found.not_read.file(entry.name)


def _images(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """The images that are described by files beside them; else by their folders."""
    suffixes = image_suffixes()
    beside, kinds, before, alone = Counter[str](), Counter[str](), "", list[str]()
    for entry in files_below(source, found.not_read, ask.exclude):
        suffix = PurePath(entry.name).suffix.lower()
        if is_image_file(entry.path, suffixes):
            if not ask.captions:
                yield Sample(entry.path)
                continue
            kind, captions, files = _beside(entry.path, found.not_read)
            if files:
                stem = str(PurePath(entry.path).with_suffix(""))
                beside.subtract(files if stem != before else ())
                kinds[kind], before = kinds[kind] + 1, stem
                yield Sample(entry.path, captions=captions)
            else:
                alone.append(entry.path)
        elif entry.is_dir():
            continue
        elif suffix in CAPTION_FILES and ask.captions and not entry.name.startswith(MACOS_START):
            beside[suffix] += 1
        else:
            found.not_read.file(entry.name)
    found.not_read.update(+beside)
    if ask.captions and kinds:
        of = ", ".join(kind for kind in CAPTION_FILES if kinds[kind])
        found.told = f"a folder: captions from the files beside the images ({of})"
        yield from map(Sample, alone)
    elif alone:
        yield from _named(source, alone, found)


def _named(source: str, images: list[str], found: Found) -> Iterator[Sample]:
    """Images whose folders are their captions."""
    parents = {os.path.dirname(image) for image in images}
    below = sorted(parent for parent in parents if Path(parent) != Path(source))
    tables = [e.name for e in os.scandir(source) if PurePath(e.name).suffix.lower() in TABLES]
    if tables and len(parents) == 1:
        raise DataError(
            f"{shown(source)}: found {len(images):,} images in one folder, "
            f"{shown(PurePath(parents.pop()).name)}, no caption beside any, and "
            f"{shown(', '.join(sorted(tables)))}; name the table itself"
        )
    for image in images:
        parent = os.path.dirname(image)
        name = to_name(PurePath(parent).name).replace("_", " ")
        yield Sample(image, captions=(name,) if parent in below else ())
    found.told = f"a folder: captions from the names of {len(below):,} folders"
    if len(below) == 1:
        found.told = f"a folder: captions from the name of 1 folder: all are {shown(name)!r}"


def _beside(image: str, not_read: NotRead) -> tuple[str, tuple[str, ...], list[str]]:
    """What the files beside an image say: the one that counts, its captions, all suffixes."""
    parent, name = os.path.split(image)
    said, suffixes = [], []
    for file in _caption_files(parent).get(PurePath(name).stem, ()):
        suffix, path = PurePath(file).suffix.lower(), os.path.join(parent, file)
        suffixes.append(suffix)
        try:
            content = read_regular(path, LONGEST)[0]
        except (OSError, DataError):
            not_read.damaged(path)
            continue
        said.append((suffix, parse_captions(path, content, not_read)))
    kind, captions = best(said)
    return kind, captions, suffixes


@lru_cache(maxsize=4)
def _listed(folder: str, _changed: int) -> dict[str, list[str]]:
    """Stem -> the names of the files in a folder that may hold captions."""
    found: dict[str, list[str]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            path = PurePath(entry.name)
            if path.suffix.lower() in CAPTION_FILES and entry.is_file():
                found.setdefault(path.stem, []).append(entry.name)
    return found


def _caption_files(folder: str) -> dict[str, list[str]]:
    return _listed(folder or ".", os.stat(folder or ".").st_mtime_ns)


def captions_beside(image: str, found: Found) -> tuple[str, ...]:
    """What the files beside one image say."""
    kind, captions, _ = _beside(image, found.not_read)
    found.told = f"an image: its caption from the file beside it ({kind})" if kind else "an image"
    return captions


def _packed(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """The images in the .tar or .parquet files of a folder without images."""
    files = sorted(path for path in Path(source).iterdir() if path.is_file())
    shards = [path for path in files if path.suffix.lower() == ".tar"]
    tables = [path for path in files if path.suffix.lower() in PARQUET]
    packed = [path for path in files if path.name.lower().endswith(PACKED)]
    for path in shards or tables:
        found.not_read -= Counter({path.suffix.lower(): 1})
    if shards:
        yield from read_shards(_of_split(shards, ask), ask, found)
    elif tables:
        for path in _of_split(tables, ask):
            yield from samples(open_table(path), ask, found)
    elif packed:
        yield from read_shards(packed[:1], ask, found)


def _of_split(files: list[Path], ask: Ask) -> list[Path]:
    """Those whose names begin with the split that is asked for, if all begin with one."""
    splits = [path.name.lower().replace("_", "-").split("-")[0] for path in files]
    if not ask.split or len(set(splits)) < 2 or not set(splits) <= ALL_SPLITS:
        return files
    for wanted in SPLITS.get(ask.split, (ask.split,)):
        if wanted in splits:
            return [path for path, split in zip(files, splits, strict=True) if split == wanted]
    raise DataError(
        f"{shown(files[0].parent)}: found files of {', '.join(sorted(set(splits)))}, expected some "
        f"of the split {ask.split}; name those that are meant, as in x-{{000..009}}.tar"
    )


FOLDER = Reader("folder", "a folder", lambda source, _: os.path.isdir(source), read)
