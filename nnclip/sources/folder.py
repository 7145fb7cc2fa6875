"""Folders of images, with captions beside them, or a folder for each class.

| image | caption | class |
|---|---|---|
| `a.jpg` | `a.txt`, `a.caption` or `a.json` | none |
| `hot_dog/a.jpg` | the same; without such a file "hot dog" | `hot_dog` |

A folder without images stands for the .tar files in it.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

from nnclip.files import to_name
from nnclip.image.formats import image_suffixes, is_image_file
from nnclip.image.listing import NotRead, files_below
from nnclip.sources.captions import CAPTION_FILES, captions_beside
from nnclip.sources.reader import Reader
from nnclip.sources.sample import Ask, Found, Sample
from nnclip.sources.shards import read_shard


def read(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """The images of a folder and of all below it; see the table above."""
    if ask.labels:
        yield from _classes(source, ask, found)
        return
    some = False
    for sample in _images(source, ask, found.not_read):
        some = True
        yield sample
    if some:
        return
    for shard in sorted(Path(source).glob("*.tar")):
        found.not_read -= Counter({".tar": 1})
        yield from read_shard(str(shard), ask, found)


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
    for folder, label in zip(folders, found.classes, strict=True):
        for sample in _images(folder.path, ask, found.not_read):
            yield Sample(sample.path, captions=sample.captions, label=label)


def _images(folder: str, ask: Ask, not_read: NotRead) -> Iterator[Sample]:
    suffixes, beside = image_suffixes(), Counter[str]()
    for entry in files_below(folder, not_read, ask.exclude):
        suffix = PurePath(entry.name).suffix.lower()
        if is_image_file(entry.path, suffixes):
            captions: tuple[str, ...] = ()
            if ask.captions:
                said = captions_beside(entry.path, not_read)
                if said is not None:
                    beside[said[0]] -= 1
                    captions = said[1]
                elif (parent := os.path.dirname(entry.path)) != folder:
                    captions = (to_name(PurePath(parent).name).replace("_", " "),)
            yield Sample(entry.path, captions=captions)
        elif suffix in CAPTION_FILES and ask.captions:
            beside[suffix] += 1
        elif not entry.is_dir():
            not_read.file(entry.name)
    not_read.update(+beside)


FOLDER = Reader("folder", "a folder", lambda source, _: os.path.isdir(source), read)
