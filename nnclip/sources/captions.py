"""Captions in files beside images: `name.txt`, `name.caption`, or `name.json` with `caption(s)`."""

import json
import os
from pathlib import PurePath

from nnclip.errors import DataError
from nnclip.files import read_regular
from nnclip.image.listing import NotRead

CAPTION_FILES = (".txt", ".caption", ".json")
LONGEST = 1 << 20  # bytes of such a file


def parse_captions(suffix: str, content: bytes, not_read: NotRead) -> tuple[str, ...]:
    """The captions in the content of a file beside an image; counts what is damaged."""
    text = content.decode("utf-8", "replace")
    if suffix != ".json":
        return (text,)
    try:
        about = json.loads(text)
        captions = about.get("captions", about.get("caption", ""))
    except (ValueError, AttributeError, RecursionError):
        not_read[f"damaged {suffix}"] += 1
        return ()
    return tuple(map(str, captions)) if isinstance(captions, list) else (str(captions),)


def captions_beside(image: str, not_read: NotRead) -> tuple[str, tuple[str, ...]] | None:
    """The suffix of the first caption file beside an image, and what it says."""
    for suffix in CAPTION_FILES:
        path = str(PurePath(image).with_suffix(suffix))
        if not os.path.isfile(path):
            continue
        try:
            return suffix, parse_captions(suffix, read_regular(path, LONGEST)[0], not_read)
        except (OSError, DataError):
            not_read[f"damaged {suffix}"] += 1
            return suffix, ()
    return None
