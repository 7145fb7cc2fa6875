"""Rename tables: published name <-> the names of a foreign dialect.

A table maps each published name to a Rule; "{}" stands for the number of a block. One table serves
both directions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nnclip.convert.tensors import Tensor, rows, stacked, transposed
from nnclip.errors import CheckpointError


@dataclass(frozen=True)
class Rule:
    """How a dialect keeps one published tensor.

    Attributes:
        parts: the dialect's names; several if it splits the tensor along its first axis.
        turned: whether it keeps the transpose.
    """

    parts: tuple[str, ...]
    turned: bool = False


Table = Mapping[str, Rule]


def same(name: str) -> Rule:
    """The tensor as it is, under another name."""
    return Rule((name,))


def turned(name: str) -> Rule:
    """The transposed tensor."""
    return Rule((name,), turned=True)


def split(*names: str) -> Rule:
    """The tensor in equal parts along its first axis."""
    return Rule(names)


def in_blocks(published: str, foreign: str, rules: Table) -> dict[str, Rule]:
    """The rules of one block with the names of a tower's blocks put before them."""
    return {
        published + name: Rule(tuple(foreign + part for part in rule.parts), rule.turned)
        for name, rule in rules.items()
    }


def _pattern(name: str, separator: str) -> tuple[str, str]:
    """A name with its block number, the first one, replaced: a.7.b.0 -> a.{}.b.0, 7."""
    words = name.split(separator)
    at = next((i for i, word in enumerate(words) if word.isdecimal()), None)
    if at is None:
        return name, ""
    return separator.join((*words[:at], "{}", *words[at + 1 :])), words[at]


def without(tensors: Mapping[str, Tensor], dropped: str) -> dict[str, Tensor]:
    """The tensors whose names the pattern `dropped` does not match."""
    return {name: t for name, t in tensors.items() if not re.fullmatch(dropped, name)}


def to_published(tensors: Mapping[str, Tensor], table: Table) -> dict[str, Tensor]:
    """Published name -> tensor, for all whose parts are there; names that no rule knows stay out.

    Raises:
        CheckpointError: the parts of one tensor do not fit together.
    """
    places = {part: published for published, rule in table.items() for part in rule.parts}
    found: dict[str, Tensor] = {}
    for name in tensors:
        pattern, number = _pattern(name, ".")
        published = places.get(pattern, "").format(number)
        if not published or published in found:
            continue
        rule = table[places[pattern]]
        parts = [tensors.get(part.format(number)) for part in rule.parts]
        present = [part for part in parts if part is not None]
        if len(present) < len(parts):
            continue
        if len({part.shape for part in present}) > 1:
            raise CheckpointError(
                f"tensor {name}: found parts of the shapes {[p.shape for p in present]}, expected "
                "equal ones"
            )
        tensor = present[0] if len(present) == 1 else stacked(present)
        found[published] = transposed(tensor) if rule.turned else tensor
    return found


def to_foreign(tensors: Mapping[str, Tensor], table: Table) -> dict[str, Tensor]:
    """The dialect's name -> tensor; CheckpointError if the dialect has no name for one of them."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        pattern, number = _pattern(name, "/")
        rule = table.get(pattern)
        if rule is None:
            raise CheckpointError(f"tensor {name}: found no name for it in this dialect")
        whole = transposed(tensor) if rule.turned else tensor
        for i, part in enumerate(rule.parts):
            count = len(rule.parts)
            found[part.format(number)] = whole if count == 1 else rows(whole, i, count)
    return found
