"""Values as visitors send them: of any type, checked here, named in the sentences that say no."""

import math
from typing import Any

from nnclip.errors import DataError
from nnclip.service.limits import MAX_HITS

ECHOED = 60  # characters of a value that an error repeats


def text(value: Any, name: str) -> str:
    """A text; None stands for an empty one.

    Raises:
        DataError: another type, or half a character (a lone surrogate), which no text holds.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{name}: found {kind(value)}, expected a text")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise DataError(f"{name}: found half a character (a lone surrogate), expected a text")
    return value


def number(value: Any, name: str) -> float:
    """A finite number; DataError for another type, true, false, NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DataError(f"{name}: found {kind(value)}, expected a number")
    if not -1e15 < value < 1e15:  # not NaN either
        raise DataError(f"{name}: found {echo(value)}, expected a number below 1e15")
    return float(value)


def truth(value: Any, name: str) -> bool:
    """True or false; DataError for anything else."""
    if not isinstance(value, bool):
        raise DataError(f"{name}: found {kind(value)}, expected true or false")
    return value


def count(value: Any, name: str) -> int:
    """How many hits somebody gets who asks for `value`: 1 to MAX_HITS; errors as for `number`."""
    return max(1, min(math.floor(number(value, name)), MAX_HITS))


def index(value: Any, name: str, length: int) -> int:
    """A place in a list of so many; DataError if it is none."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < length:
        found = echo(value) if type(value) is int else kind(value)
        raise DataError(f"{name}: found {found}, expected a number from 0 to {length - 1}")
    return value


def kind(value: Any) -> str:
    """What a value that came as JSON is called."""
    kinds = {
        type(None): "nothing", bool: "true or false", int: "a number", float: "a number",
        str: "a text", list: "a list", dict: "an object",
    }  # fmt: skip
    return kinds.get(type(value), type(value).__name__)


def echo(value: Any) -> str:
    """The beginning of a value, for an error."""
    found = repr(value) if not isinstance(value, int) or value.bit_length() < 200 else "a number"
    return found if len(found) <= ECHOED else f"{found[: ECHOED - 3]}..."
