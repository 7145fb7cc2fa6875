"""Reads JSON that somebody else may have written, up to a size and a depth, and shows its values.

What is wrong is an OSError or a ValueError with a sentence; the caller says which file it was.
"""

import json
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nnclip.files import read_regular

SETTINGS_BYTES = 8 << 20  # of a JSON file of settings; an index of 1,000 shards takes 0.1 MB
TOKENIZER_BYTES = 32 << 20  # XLM-R's tokenizer.json takes 17 MB
DEPTH = 64  # of objects and lists inside each other


def read_json(path: str | Path, most: int = SETTINGS_BYTES) -> Any:
    """What a JSON file holds; errors as those of `read_regular` and `parse_json`."""
    return parse_json(read_regular(path, most)[0], most)


def parse_json(text: str | bytes, most: int = SETTINGS_BYTES) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: no JSON in UTF-8, more than `most` bytes, a key twice in one object, or objects
            and lists more than DEPTH deep.
    """
    if len(text) > most:
        raise ValueError(f"found {len(text):,} bytes of JSON, expected at most {most:,}")
    try:
        tree = json.loads(
            text.decode("utf-8") if isinstance(text, bytes) else text, object_pairs_hook=_object
        )
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    level, depth = _containers([tree]), 0
    while level:
        depth += 1
        if depth > DEPTH:
            raise ValueError(_TOO_DEEP)
        level = [child for node in level for child in _containers(_children(node))]
    return tree


def _children(node: Any) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node


def _containers(nodes: Iterable[Any]) -> list[Any]:
    return [node for node in nodes if isinstance(node, dict | list)]


_TOO_DEEP = f"found JSON more than {DEPTH} levels deep, expected fewer"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"found the key {brief(twice)} twice in one object, expected it once")
    return found


class _Short(reprlib.Repr):
    """Nothing that is shown takes long, however often its parts contain each other."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 80, 80
        self.maxdict = self.maxlist = self.maxtuple = 6

    def repr_int(self, value: int, level: int) -> str:
        return repr(value) if value.bit_length() < 256 else f"<int of {value.bit_length()} bits>"

    def repr_instance(self, value: Any, level: int) -> str:
        plain = value is None or isinstance(value, float | bool)
        return repr(value) if plain else f"<{type(value).__name__}>"


def brief(value: Any) -> str:
    """A value for an error message: its repr, shortened while it is made."""
    return _Short().repr(value)
