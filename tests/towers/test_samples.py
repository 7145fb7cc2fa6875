"""Every tower has a sample, and so has every option of one with every value."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from nnclip.graph import towers
from nnclip.graph.stems import STEMS
from tests.towers.samples import IMAGES, TEXTS

SIDES = {"image": IMAGES, "text": TEXTS}
LISTED = {"image": towers.IMAGE_TOWERS, "text": towers.TEXT_TOWERS}


def parts(one: Any) -> Iterator[Any]:
    """A tower's dataclass, and those inside it: blocks, stages, stems."""
    yield one
    for field in dataclasses.fields(one):
        value = getattr(one, field.name)
        for inner in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(inner) and field.name != "preprocess":
                yield from parts(inner)


def lacking(side: str) -> list[str]:
    """Classes, values of choices, and fields off their default that no sample of a side has."""
    found = [part for sample in SIDES[side].values() for part in parts(sample.tower)]
    kinds = {type(part) for part in found}
    missing = [kind.__name__ for kind in LISTED[side] if kind not in kinds]
    choices: dict[str, set[Any]] = {}  # option -> its values; towers share options
    seen: dict[str, set[Any]] = {}
    for kind in kinds:
        for field in (f for f in dataclasses.fields(kind) if f.compare):  # others tell no tower
            values = {getattr(part, field.name) for part in found if type(part) is kind}
            if known := field.metadata.get("choices"):
                choices.setdefault(field.metadata["key"], set()).update(known)
                seen.setdefault(field.metadata["key"], set()).update(values)
            elif field.default is not dataclasses.MISSING and not values - {field.default}:
                missing.append(f"{kind.__name__}.{field.name} other than {field.default!r}")
            elif field.type in (bool, "bool") and len(values) < 2:
                missing.append(f"{kind.__name__}.{field.name} both ways")
    missing += [f"{k}={v}" for k in choices for v in choices[k] - seen[k]]
    return missing + [s.__name__ for s in (STEMS if side == "image" else ()) if s not in kinds]


@pytest.mark.parametrize("side", SIDES)
def test_nothing_lacks_a_sample(side: str) -> None:
    assert not lacking(side)


@dataclasses.dataclass(frozen=True)
class New:
    """A tower that somebody adds."""


def test_a_tower_without_a_sample_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LISTED, "image", (*towers.IMAGE_TOWERS, New))
    assert lacking("image") == ["New"]


def test_an_option_without_a_sample_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIDES, "text", {k: v for k, v in TEXTS.items() if k != "metaclip 2"})
    assert lacking("text") == ["TextConfig.eos other than 0", "text_pool=eos"]
