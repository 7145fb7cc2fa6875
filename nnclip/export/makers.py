"""What text towers read beside ids, as parts of an exported graph: a row for each `Derived`."""

from collections.abc import Callable
from typing import Any

from nnclip.engine.derived import (
    Make,
    count_of_others,
    differs_from,
    first_equal,
    first_highest,
)
from nnclip.errors import UnsupportedOpError
from nnclip.graph.derived import (
    Beside,
    FirstEqual,
    FirstHighest,
    NotPadding,
    PositionsWithoutPadding,
)

MAKERS: dict[type, Callable[[Any], Make]] = {
    FirstHighest: lambda _: first_highest,
    FirstEqual: lambda derived: first_equal(derived.value),
    NotPadding: lambda derived: differs_from(derived.pad),
    PositionsWithoutPadding: lambda derived: count_of_others(derived.pad, derived.first),
}


def makers_of(beside: Beside) -> dict[str, Make]:
    """What makes each input of the ids; UnsupportedOpError if an exported graph cannot."""
    missing = {type(one).__name__ for one in beside.values()} - {kind.__name__ for kind in MAKERS}
    if missing:
        raise UnsupportedOpError(
            f"an exported graph has no rule for {', '.join(sorted(missing))} of ids. Add one to "
            "nnclip/export/makers.py, or export to NNP, which takes it as an input"
        )
    return {name: MAKERS[type(one)](one) for name, one in beside.items()}
