"""Captions in one .json file: of COCO, split by Karpathy (COCO, Flickr30k), or a list of objects.

| | what it holds |
|---|---|
| COCO | `images` with `id` and `file_name`; `annotations` with `image_id` and `caption` |
| Karpathy | `images` with `filename`, `split` and `sentences`, each of which has `raw` |
| a list, or JSON lines | objects with the name of an image and a caption, or a list of captions |
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnclip.errors import DataError
from nnclip.files import read_regular, shown
from nnclip.sources.bad import Bad
from nnclip.sources.captions import texts_of
from nnclip.sources.delimited import json_lines, records_of
from nnclip.sources.places import Places
from nnclip.sources.reader import Reader
from nnclip.sources.sample import TRAINING, VALIDATION, Ask, Found, Sample
from nnclip.sources.table import samples
from nnclip.sources.text import decode

LARGEST = 1 << 31  # bytes
SPLITS = {TRAINING: ("train", "restval"), VALIDATION: ("val",)}
_NEITHER = (
    "neither COCO's captions (`images`, `annotations`) nor Karpathy's split (`images` with "
    "`sentences`) nor a list of objects with an image and a caption"
)

Pairs = Iterator[tuple[str, tuple[str, ...] | None]]  # name of an image; None: captions are no text


def read(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """The images in the file's order; each caption apart in the order of the annotations."""
    path = Path(source)
    content = _content(path)
    if content is None:
        yield from samples(json_lines(path), ask, found)
        return
    if isinstance(content, list) and any(isinstance(one, dict) for one in content):
        yield from samples(records_of(path, content), ask, found)
        return
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise DataError(f"{shown(path)}: found {_kind(content)}, {_NEITHER}")
    places = Places(path, ask.root)
    try:
        coco = isinstance(content.get("annotations"), list)
        pairs = _coco(path, content, ask, found) if coco else _karpathy(path, content, ask, found)
        for file, captions in pairs:
            if captions is None:
                found.bad.note("image with a caption that is no text", path, file)
                continue
            yield Sample(places(file), captions=captions if ask.captions else ())
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{shown(path)}: {_NEITHER}: {error!r} is not there") from error
    found.told = "; ".join([found.told, *places.told])


def _kind(content: Any) -> str:
    if isinstance(content, dict):
        return f"an object with {shown(', '.join(map(str, content))[:100]) or 'nothing in it'}"
    return "a list" if isinstance(content, list) else repr(content)[:100]


def _content(path: Path) -> Any:
    """What is in the file; None where it holds JSON lines."""
    try:
        text = decode(read_regular(path, LARGEST)[0])
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            rows = json_lines(path).rows(Bad(), ())
            if next(rows, (0, {}))[0] == 1:
                return None
        raise DataError(f"{shown(path)}: cannot be read as JSON ({error})") from error


def _coco(path: Path, content: Any, ask: Ask, found: Found) -> Pairs:
    files = {image["id"]: image["file_name"] for image in content["images"]}
    notes = content["annotations"]
    if notes and not any("caption" in note for note in notes):
        raise DataError(
            f"{shown(path)}: found annotations with {shown(', '.join(map(str, notes[0])))} and no "
            "captions, expected COCO's file of captions (captions_train2017.json)"
        )
    found.told = "COCO's captions"
    captions: dict[Any, list[str]] = {number: [] for number in files}
    for note in notes:
        number = note["image_id"]
        if number not in files:
            kind = "caption of an image that is not in `images`"
            found.bad.note(kind, path, f"image_id {number}")
            continue
        said = texts_of(note.get("caption"))
        if said is None or (ask.each and said):
            yield files[number], said
        else:
            captions[number] += said
    if not ask.each:
        yield from ((files[number], tuple(said)) for number, said in captions.items())


def _karpathy(path: Path, content: Any, ask: Ask, found: Found) -> Pairs:
    wanted = SPLITS.get(ask.split, (ask.split,))
    chosen = [it for it in content["images"] if not ask.split or it["split"] in wanted]
    if not chosen:
        if not content["images"]:
            raise KeyError("annotations")
        splits = ", ".join(sorted({str(image["split"]) for image in content["images"]}))
        raise DataError(f"{shown(path)}: no image of split {ask.split!r}; there are: {splits}")
    of = f" of {', '.join(wanted)}" if ask.split else ""
    found.told = f"Karpathy's split: {len(chosen):,} image{'' if len(chosen) == 1 else 's'}{of}"
    for image in chosen:
        file = os.path.join(image.get("filepath", ""), image["filename"])
        captions = texts_of([sentence["raw"] for sentence in image["sentences"]])
        if ask.each and captions:
            yield from ((file, (caption,)) for caption in captions)
        else:
            yield file, captions


CAPTIONS_JSON = Reader(
    "captions",
    "captions of COCO or Karpathy (.json)",
    lambda source, _: source.lower().endswith(".json") and not os.path.isdir(source),
    read,
)
