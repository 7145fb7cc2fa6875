"""Rename tables: published name <-> the names of a foreign dialect.

A table maps each published name to a Rule; "{}" stands for the number of a block or a stage. One
table serves both directions.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from nnclip.convert.tensors import (
    Tensor,
    rows,
    stacked,
    transposed,
    unless_left_out,
    with_ones,
    without_ones,
    zeros_like,
)
from nnclip.errors import CheckpointError

ZEROS = ""


@dataclass(frozen=True)
class Rule:
    """How a dialect keeps one published tensor.

    Attributes:
        parts: the dialect's names; several if it splits the tensor along its first axis. ZEROS
            for a part that it lacks because all its numbers are zero.
        turned: whether it keeps the transpose.
        shares: how the first axis is divided among the parts; equally if not given.
        ones: axes of length 1 that it has in front.
    """

    parts: tuple[str, ...]
    turned: bool = False
    shares: tuple[int, ...] = ()
    ones: int = 0


Table = Mapping[str, Rule]


def same(name: str) -> Rule:
    """The tensor as it is, under another name."""
    return Rule((name,))


def turned(name: str) -> Rule:
    """The transposed tensor."""
    return Rule((name,), turned=True)


def led(name: str, ones: int) -> Rule:
    """The tensor with `ones` axes of length 1 in front."""
    return Rule((name,), ones=ones)


def split(*names: str, shares: tuple[int, ...] = ()) -> Rule:
    """The tensor in parts along its first axis: equal ones, or as `shares` divide it."""
    return Rule(names, shares=shares)


def below(prefix: str, table: Table) -> dict[str, Rule]:
    """The table with `prefix` put before the dialect's names."""
    return {name: replace(rule, parts=_prefixed(prefix, rule)) for name, rule in table.items()}


def in_blocks(published: str, foreign: str, rules: Table) -> dict[str, Rule]:
    """The rules of one block with the names of a tower's blocks put before them."""
    return {
        published + name: replace(rule, parts=_prefixed(foreign, rule))
        for name, rule in rules.items()
    }


def _prefixed(prefix: str, rule: Rule) -> tuple[str, ...]:
    return tuple(ZEROS if part == ZEROS else prefix + part for part in rule.parts)


def _matched(name: str, separator: str, known: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """The known name with "{}" in the place of numbers that is this one's, and those numbers.

    Of several, the one with most: a.7.b.0 -> a.{}.b.{} or a.{}.b.0 or itself.
    """
    words = name.split(separator)
    at = [i for i, word in enumerate(words) if word.isdecimal()]
    for count in range(len(at), 0, -1):
        numbered = ["{}" if i in at[:count] else word for i, word in enumerate(words)]
        pattern = separator.join(numbered)
        if pattern in known:
            return pattern, tuple(words[i] for i in at[:count])
    return name, ()


def without(tensors: Mapping[str, Tensor], dropped: str) -> dict[str, Tensor]:
    """The tensors whose names the pattern `dropped` does not match."""
    return {name: t for name, t in tensors.items() if not re.fullmatch(dropped, name)}


def _whole(part: Tensor, share: int, all_shares: int) -> tuple[int, ...]:
    """The shape of the tensor that this is so many shares of."""
    return (part.shape[0] * all_shares // share, *part.shape[1:]) if part.shape else ()


def to_published(tensors: Mapping[str, Tensor], table: Table) -> dict[str, Tensor]:
    """Published name -> tensor, for all whose parts are there; names that no rule knows stay out.

    Raises:
        CheckpointError: the parts of one tensor do not fit together.
    """
    places = {part: published for published, rule in table.items() for part in rule.parts}
    places.pop(ZEROS, None)
    found: dict[str, Tensor] = {}
    for name in tensors:
        pattern, numbers = _matched(name, ".", places)
        published = places.get(pattern, "").format(*numbers)
        if not published or published in found:
            continue
        rule = table[places[pattern]]
        there = [tensors.get(part.format(*numbers)) for part in rule.parts if part != ZEROS]
        parts = [zeros_like(tensors[name]) if p == ZEROS else there.pop(0) for p in rule.parts]
        present = [part for part in parts if part is not None]
        if len(present) < len(parts):
            continue
        shares = rule.shares or (1,) * len(present)
        if len({_whole(part, n, sum(shares)) for part, n in zip(present, shares, strict=True)}) > 1:
            raise CheckpointError(
                f"tensor {name}: found parts of the shapes {[p.shape for p in present]}, expected "
                "equal ones"
            )
        tensor = present[0] if len(present) == 1 else stacked(present)
        tensor = transposed(tensor) if rule.turned else tensor
        found[published] = without_ones(tensor, rule.ones) if rule.ones else tensor
    return found


def to_foreign(tensors: Mapping[str, Tensor], table: Table) -> dict[str, Tensor]:
    """The dialect's name -> tensor; CheckpointError if the dialect has no name for one of them."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        pattern, numbers = _matched(name, "/", table)
        rule = table.get(pattern)
        if rule is None:
            raise CheckpointError(f"tensor {name}: found no name for it in this dialect")
        whole = transposed(tensor) if rule.turned else tensor
        whole = with_ones(whole, rule.ones) if rule.ones else whole
        shares = rule.shares or (1,) * len(rule.parts)
        for i in (i for i, part in enumerate(rule.parts) if part == ZEROS):
            whole = unless_left_out(whole, name, rows(whole, i, shares))
        for i, part in enumerate(rule.parts):
            if part != ZEROS:
                found[part.format(*numbers)] = whole if len(shares) == 1 else rows(whole, i, shares)
    return found
