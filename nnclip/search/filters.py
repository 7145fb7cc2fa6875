"""Which images of a collection may be found, by what their records say.

In a program and in JSON, filters are one object:

| key | value | passes |
|---|---|---|
| `under` | a folder, or a list of folders | what lies below one of them |
| `after`, `before` | `2019`, `2019-07`, `2019-07-01`, `2019-07-01T10:20` | taken since; earlier |
| `camera` | a text, or a list | cameras whose name holds one of them, in any case |
| `near` | `[latitude, longitude, kilometres]` | taken within that distance |
| a field of records | a value, or a list of values | these values |
| a field of records | an object of `prefix`, `contains`, `min`, `max` | what fits all of them |
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nnclip.errors import DataError
from nnclip.files import to_name
from nnclip.json_text import brief

_DATES = ("%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")
_DATE = "expected a date such as 2019, 2019-07, 2019-07-01 or 2019-07-01T10:20"
NAMED = ("under", "after", "before", "camera", "near")  # keys that are no fields of records


@dataclass(frozen=True)
class Filter:
    """A condition on one field.

    Attributes:
        field: of the records; "place" stands for latitude and longitude.
        test: one of `nnclip.search.passing.TESTS`.
        value: what it is compared with: a text, a number, or a tuple.
    """

    field: str
    test: str
    value: Any

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the records that it looks at."""
        return ("latitude", "longitude") if self.test == "near" else (self.field,)


def read_filters(given: Mapping[str, Any]) -> tuple[Filter, ...]:
    """The filters of an object as it is described above.

    Raises:
        DataError: a key, a test or a value that cannot be; the message begins with its name.
    """
    found: list[Filter] = []
    for key, value in given.items():
        found += _READERS[key](value) if key in _READERS else _of_field(key, value)
    return tuple(found)


def _of_field(field: str, value: Any) -> list[Filter]:
    """Filters on any field of the records."""
    if isinstance(value, list | tuple):
        return [Filter(field, "is", tuple(_plain(field, it) for it in value))]
    if not isinstance(value, Mapping):
        return [Filter(field, "is", _plain(field, value))]
    found = []
    for test, bound in value.items():
        text = isinstance(bound, str)
        fits = text if test in ("prefix", "contains") else text or _is_number(bound)
        if test not in ("prefix", "contains", "min", "max") or not fits:
            raise DataError(
                f"{field:.60}: found {brief(test)} with {brief(bound)}, expected prefix or "
                "contains with a text, min or max with a number or a text"
            )
        found.append(Filter(field, test, bound))
    return found


def _plain(field: str, value: Any) -> Any:
    if not (value is None or isinstance(value, str | bool) or _is_number(value)):
        raise DataError(f"{field:.60}: found {brief(value)}, expected a text, a number or null")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _texts(key: str, value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else (value,)
    if not values or not all(isinstance(it, str | os.PathLike) and str(it) for it in values):
        raise DataError(f"{key}: found {brief(value)}, expected a text or a list of texts")
    return tuple(map(str, values))


def _under(value: Any) -> list[Filter]:
    folders = tuple(to_name(os.path.abspath(it)) for it in _texts("under", value))
    return [Filter("image", "under", folders)]


def _date(key: str, value: Any) -> str:
    """The first moment of a date, as records hold it."""
    text = value.isoformat() if hasattr(value, "isoformat") else value
    for form in _DATES if isinstance(text, str) else ():
        try:
            return datetime.strptime(text.strip().replace(" ", "T"), form).isoformat()
        except ValueError:
            continue
    raise DataError(f"{key}: found {brief(value)}, {_DATE}")


def _place(value: Any) -> list[Filter]:
    parts = re.split(r"[,\s]+", value.strip()) if isinstance(value, str) else value
    try:
        latitude, longitude, distance = (float(it) for it in [*parts, 10.0][:3])
        fits = abs(latitude) <= 90 and abs(longitude) <= 180 and distance >= 0 and len(parts) <= 3
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise DataError(
            f"near: found {brief(value)}, expected degrees of latitude and longitude, and "
            "kilometres: 35.68,139.77,10"
        )
    return [Filter("place", "near", (latitude, longitude, distance))]


_READERS: Mapping[str, Callable[[Any], Sequence[Filter]]] = {
    "under": _under,
    "after": lambda value: [Filter("taken", "min", _date("after", value))],
    "before": lambda value: [Filter("taken", "before", _date("before", value))],
    "camera": lambda value: [Filter("camera", "like", _texts("camera", value))],
    "near": _place,
}


_CONDITION = re.compile(r"\s*([a-z_]+)\s*(>=|<=|=|~)\s*(.*)", re.DOTALL)
_SIGNS = {">=": "min", "<=": "max", "~": "contains"}


def read_condition(text: str) -> dict[str, Any]:
    """`width>=3000`, `camera=Canon EOS 5D` or `image~beach` as an object of filters.

    Raises:
        DataError: it is none of these.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise DataError(
            f"{brief(text)}: found no condition, expected FIELD=VALUE, FIELD>=VALUE, FIELD<=VALUE "
            "or FIELD~PART"
        )
    field, sign, value = found[1], found[2], found[3].strip()
    number = re.fullmatch(r"-?\d+(\.\d+)?", value) and field not in ("camera", "taken", "image")
    typed: Any = (
        value if not number or sign == "~" else float(value) if "." in value else int(value)
    )
    return {field: typed if sign == "=" else {_SIGNS[sign]: typed}}
