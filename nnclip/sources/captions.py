"""Captions in files beside images: `name.txt`, `name.caption`, or `name.json` with `caption(s)`.

One rule for folders and for tar files: of several such files the one with the most captions counts,
of equals the first in CAPTION_FILES. A file without a caption hides no other.
"""

import json
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from nnclip.image.listing import NotRead
from nnclip.sources.text import decode

CAPTION_FILES = (".txt", ".caption", ".json")
LONGEST = 1 << 20  # bytes of such a file


def texts_of(value: Any) -> tuple[str, ...] | None:
    """The captions that a value holds, without empty ones; None if there is one that is no text."""
    values = value if isinstance(value, (list, tuple)) else [value]
    texts = [one for one in values if one is not None]
    if not all(isinstance(one, str) and is_text(one) for one in texts):
        return None
    return tuple(one for one in texts if one.strip())


def is_text(text: str) -> bool:
    """Whether a string can be written down: no zero byte, no half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def parse_captions(name: str, content: bytes, not_read: NotRead) -> tuple[str, ...]:
    """The captions in the content of a file beside an image; counts what is damaged."""
    suffix = PurePath(name).suffix.lower()
    try:
        text = decode(content)
        about = json.loads(text) if suffix == ".json" else {"caption": text}
        value = about["captions"] if about.get("captions") else about.get("caption")
        captions = texts_of(value)
    except (ValueError, AttributeError, RecursionError):
        captions = None
    if captions is None:
        not_read.damaged(name)
    return captions or ()


def best(said: Iterable[tuple[str, tuple[str, ...]]]) -> tuple[str, tuple[str, ...]]:
    """The suffix and the captions that count, of several files beside an image; "" for none."""
    given = [(suffix, captions) for suffix, captions in said if captions]
    given.sort(key=lambda one: (-len(one[1]), CAPTION_FILES.index(one[0])))
    return given[0] if given else ("", ())
