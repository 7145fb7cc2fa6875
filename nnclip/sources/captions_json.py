"""Captions in one .json file: as COCO publishes them, or split by Karpathy (COCO, Flickr30k).

| | what it holds |
|---|---|
| COCO | `images` with `id` and `file_name`; `annotations` with `image_id` and `caption` |
| Karpathy | `images` with `filename`, `split` and `sentences`, each of which has `raw` |
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnclip.errors import DataError
from nnclip.files import read_regular, shown, to_path
from nnclip.sources.reader import Reader
from nnclip.sources.sample import TRAINING, Ask, Found, Sample

LARGEST = 1 << 31  # bytes
FOR_TRAINING = ("train", "restval")


def read(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """The images in the file's order; each caption apart in the order of the annotations."""
    path = Path(source)
    root = Path(ask.root) if ask.root else path.parent
    content = _content(path)
    try:
        if "annotations" in content:
            pairs = _coco(path, content, ask.each)
        else:
            pairs = _karpathy(path, content, ask)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{shown(path)}: neither COCO's captions (images, annotations) nor Karpathy's split "
            f"(images with sentences): {error!r} is not there"
        ) from error
    for file, captions in pairs:
        yield Sample(str(root / to_path(file)), captions=captions if ask.captions else ())


def _content(path: Path) -> Any:
    try:
        return json.loads(read_regular(path, LARGEST)[0])
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{shown(path)}: cannot be read as JSON ({error})") from error


def _coco(path: Path, content: Any, each: bool) -> list[tuple[str, tuple[str, ...]]]:
    files = {image["id"]: image["file_name"] for image in content["images"]}
    notes = [(note["image_id"], note["caption"]) for note in content["annotations"]]
    unknown = {number for number, _ in notes} - set(files)
    if unknown:
        raise DataError(
            f"{shown(path)}: annotations of {len(unknown)} images that are not in `images`, "
            f"the first has the id {min(unknown)}"
        )
    if each:
        return [(files[number], (caption,)) for number, caption in notes]
    captions: dict[Any, list[str]] = {number: [] for number in files}
    for number, caption in notes:
        captions[number].append(caption)
    return [(file, tuple(captions[number])) for number, file in files.items()]


def _karpathy(path: Path, content: Any, ask: Ask) -> list[tuple[str, tuple[str, ...]]]:
    wanted = FOR_TRAINING if ask.split == TRAINING else (ask.split,)
    chosen = [it for it in content["images"] if not ask.split or it["split"] in wanted]
    if not chosen:
        if not content["images"]:
            raise KeyError("annotations")
        splits = ", ".join(sorted({image["split"] for image in content["images"]}))
        raise DataError(f"{shown(path)}: no image of split {ask.split!r}; there are: {splits}")
    pairs = [
        (
            os.path.join(image.get("filepath", ""), image["filename"]),
            tuple(sentence["raw"] for sentence in image["sentences"]),
        )
        for image in chosen
    ]
    if ask.each:
        return [(file, (caption,)) for file, captions in pairs for caption in captions]
    return pairs


CAPTIONS_JSON = Reader(
    "captions",
    "captions of COCO or Karpathy (.json)",
    lambda source, _: source.lower().endswith(".json") and not os.path.isdir(source),
    read,
)
