"""Which rows pass filters: each test, on columns of Arrow."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from nnclip.errors import DataError
from nnclip.extras import extra
from nnclip.json_text import brief
from nnclip.search.filters import Filter

with extra():
    import pyarrow as pa
    import pyarrow.compute as pc

EARTH = 6371.0  # km, its radius

Columns = Mapping[str, Any]  # field -> pyarrow array of all rows


def passing(filters: Iterable[Filter], columns: Columns, count: int) -> np.ndarray:
    """Which of `count` rows pass all filters, (count,) bool.

    Raises:
        DataError: the records have another type there.
    """
    mask = np.ones(count, bool)
    for it in filters:
        arrays = [columns[field] for field in it.fields]
        try:
            found = TESTS[it.test](*arrays, it.value)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise DataError(
                f"{it.field}: found {brief(it.value)} for a field of {arrays[0].type}, expected "
                "a value of that type"
            ) from error
        mask &= _as_mask(found)
    return mask


def _as_mask(found: Any) -> np.ndarray:
    if isinstance(found, np.ndarray):
        return found
    mask = pc.fill_null(found, False)
    return np.asarray(mask.to_numpy(zero_copy_only=False), bool)


def _any_of(test: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The test with one value or with several of which one is enough."""

    def found(array: Any, value: Any) -> Any:
        values = value if isinstance(value, tuple) else (value,)
        masks = [_as_mask(test(array, it)) for it in values]
        return np.logical_or.reduce(masks) if masks else np.zeros(len(array), bool)

    return found


def _equal(array: Any, value: Any) -> Any:
    return pc.is_null(array) if value is None else pc.equal(array, value)


def _below(array: Any, folder: str) -> Any:
    inside = folder.rstrip("/") + "/"
    return pc.or_(pc.equal(array, folder), pc.starts_with(array, inside))


def _near(latitude: Any, longitude: Any, value: Any) -> np.ndarray:
    """Rows within a distance on the sphere."""
    here = np.radians(np.array(value[:2], float))
    there = [
        np.radians(pc.fill_null(pc.cast(it, pa.float64()), np.nan).to_numpy(zero_copy_only=False))
        for it in (latitude, longitude)
    ]
    half = np.sin((there[0] - here[0]) / 2) ** 2
    half = half + np.cos(here[0]) * np.cos(there[0]) * np.sin((there[1] - here[1]) / 2) ** 2
    with np.errstate(invalid="ignore"):
        found: np.ndarray = 2 * EARTH * np.arcsin(np.sqrt(np.minimum(half, 1))) <= value[2]
    return found


TESTS: Mapping[str, Callable[..., Any]] = {
    "is": _any_of(_equal),
    "under": _any_of(_below),
    "prefix": lambda array, value: pc.starts_with(array, value),
    "contains": lambda array, value: pc.match_substring(array, value),
    "like": _any_of(lambda array, value: pc.match_substring(array, value, ignore_case=True)),
    "min": lambda array, value: pc.greater_equal(array, value),
    "max": lambda array, value: pc.less_equal(array, value),
    "before": lambda array, value: pc.less(array, value),
    "near": _near,
}
