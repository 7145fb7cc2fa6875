"""Ways to damage files: bits, cuts, splices, and values in the tree of a JSON."""

import json
from pathlib import Path
from random import Random
from typing import Any

EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 64) - 1)
DEEP = 3000  # more than Python's and Rust's readers follow


def damage_bytes(content: bytes, random: Random) -> tuple[bytes, str]:
    """Other bytes than these, and how they differ."""
    how = random.choice(
        ("bit", "bits", "cut", "splice", "zeros", "number", "number", "drop", "add")
    )
    data = bytearray(content)
    at = random.randrange(len(data))
    if random.random() < 0.5:  # most of a file is numbers: look at its head as often as at them
        at = min(at, random.randrange(4096))
    size = min(1 << random.randrange(11), len(data) - at)
    if how in ("bit", "bits"):
        for place in [at] if how == "bit" else [random.randrange(len(data)) for _ in range(16)]:
            data[place] ^= 1 << random.randrange(8)
    elif how == "cut":
        del data[at:]
    elif how == "splice":
        other = random.randrange(len(data) - size + 1)
        data[at : at + size] = data[other : other + size]
    elif how == "zeros":
        data[at : at + size] = bytes(size)
    elif how == "number":
        width = random.choice((1, 2, 4, 8))
        number = random.choice(EXTREMES) & ((1 << 8 * width) - 1)
        data[at : at + width] = number.to_bytes(width, "little")
    elif how == "drop":
        del data[at : at + size]
    else:
        data[at:at] = random.randbytes(size)
    return bytes(data), f"{how} at {at}, {size} bytes"


def damage_file(path: Path, random: Random) -> str:
    """Damage the bytes of one file."""
    content, how = damage_bytes(path.read_bytes(), random)
    path.write_bytes(content)
    return f"{path.name}: {how}"


class _Pairs(dict):
    """A dict that is written with a key twice."""

    def items(self) -> Any:
        return [*super().items(), *list(super().items())[:1]]


def _odd_values(random: Random) -> list[Any]:
    return [
        None, True, False, 0, 1, -1, 2.5, 1e308, float("nan"), float("inf"), 10**30, 1 << 31,
        "", "a", "\ud800", "a" * 10_000, [], [[]], {}, {"a": {"b": []}}, [1, "a", None],
        ["a"] * 100, random.randrange(1 << 20),
    ]  # fmt: skip


def damage_tree(tree: Any, random: Random) -> tuple[Any, str]:
    """Change one value somewhere in the tree of a JSON, in place where it can be."""
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        # one of many alike is enough: else every change would fall into the vocabulary
        for key in keys if len(keys) < 100 else random.sample(keys, 3):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                visit(node[key])

    visit(tree)
    node, key = random.choice(places)
    how = random.choice(("odd", "odd", "odd", "delete", "swap", "twice", "deep"))
    if how == "odd":
        node[key] = random.choice(_odd_values(random))
    elif how == "delete":
        del node[key]
    elif how == "swap":
        other, place = random.choice(places)
        node[key] = json.loads(json.dumps(other[place]))
    elif how == "twice" and isinstance(node, dict):
        tree = _replaced(tree, node, _Pairs(node))
    else:
        inner: Any = "deep"
        for _ in range(random.choice((50, 120))):
            inner = [inner] if random.random() < 0.5 else {"type": "Sequence", "a": inner}
        node[key] = inner
    return tree, f"{how} at {str(key)[:40]!r}"


def _replaced(tree: Any, node: Any, by: Any) -> Any:
    if tree is node:
        return by
    if isinstance(tree, dict):
        return {k: _replaced(v, node, by) for k, v in tree.items()}
    return [_replaced(v, node, by) for v in tree] if isinstance(tree, list) else tree


def damage_json(content: bytes, random: Random) -> tuple[bytes, str]:
    """A JSON with other bytes, another value, or far too deep."""
    if random.random() < 0.3:
        return damage_bytes(content, random)
    if random.random() < 0.05:
        opening, closing = random.choice((("[", "]"), ('{"a":', "}")))
        return (opening * DEEP + "1" + closing * DEEP).encode(), "deep"
    tree, how = damage_tree(json.loads(content), random)
    for _ in range(random.randrange(3)):
        if isinstance(tree, dict | list) and tree:
            tree, more = damage_tree(tree, random)
            how += f", {more}"
    return json.dumps(tree).encode(), how


def damage_json_file(path: Path, random: Random) -> str:
    """Damage one JSON file."""
    content, how = damage_json(path.read_bytes(), random)
    path.write_bytes(content)
    return f"{path.name}: {how}"
