"""Checks of the values that say how images are prepared."""

import math
import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

from nnclip.errors import ConfigError
from nnclip.json_text import brief

Triple: TypeAlias = tuple[float, float, float]

LARGEST = sys.float_info.max  # an integer may be larger
MOST_PIXELS = 1 << 13  # along a side


def is_number(value: object) -> bool:
    """Whether a value is a number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(name: str, value: Any, least: int, most: float = math.inf) -> int:
    """A value as a whole number in a range; ConfigError by its name if it is none."""
    if not is_number(value) or not least <= value <= most or value != value // 1:
        expected = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise ConfigError(f"{name}: found {brief(value)}, expected a whole number {expected}")
    if value > MOST_PIXELS:
        raise ConfigError(f"{name}: found {brief(value)}, expected at most {MOST_PIXELS} pixels")
    return int(value)


def triple(name: str, value: Any, least: float) -> Triple:
    """Three numbers of at least `least`, one per channel; ConfigError if they are not."""
    fits = isinstance(value, list | tuple) and len(value) == 3
    if not fits or not all(is_number(x) and least <= x <= LARGEST for x in value):
        raise ConfigError(
            f"{name}: found {brief(value)}, expected three numbers of at least {least:g}"
        )
    red, green, blue = map(float, value)
    return red, green, blue


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """ConfigError if a value is none of the choices."""
    if value not in choices:
        raise ConfigError(f"{name}: found {value!r}, expected one of {', '.join(choices)}")
