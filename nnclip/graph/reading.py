"""Reads what a model is from the shapes of its tensors and the metadata beside them.

Each tower has a method of its own that takes a `Reader`; errors name the tensor or key.
"""

import dataclasses
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from nnclip.errors import CheckpointError, ConfigError
from nnclip.image import Preprocess
from nnclip.json_text import brief

Shapes = Mapping[str, tuple[int, ...]]
MOST = 1 << 20  # heads, tokens: more than any model has
LARGEST = sys.float_info.max  # an integer may be larger
MOST_PIXELS = 1 << 13  # along a side


def option(key: str, default: Any, choices: Collection[Any]) -> Any:
    """A field of a tower that its file names only where it is not the default.

    So an option that comes later changes nothing in the files of towers that lack it.

    Args:
        key: of the metadata: `image_...` or `text_...`, or what comes behind it in a class that
            both sides have.
        default: what the published models have.
        choices: all values; none for any integer of at least 0.
    """
    return field(default=default, metadata={"key": key, "choices": tuple(choices)})


def option_metadata(tower: Any, prefix: str = "") -> dict[str, Any]:
    """The options of a tower that are not their defaults, by their keys; see `Reader.options`."""
    fields = ((f, getattr(tower, f.name)) for f in dataclasses.fields(tower) if "key" in f.metadata)
    return {prefix + f.metadata["key"]: value for f, value in fields if value != f.default}


@dataclass(frozen=True)
class Reader:
    """The shapes of a file, with errors that name what is missing."""

    shapes: Shapes
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def shape(self, name: str, ndim: int) -> tuple[int, ...]:
        """The shape of tensor `name`; CheckpointError unless `ndim` axes, none of them empty."""
        found = self.shapes.get(name)
        if found is None or len(found) != ndim or 0 in found:
            what = "no such tensor" if found is None else f"shape {tuple(found)}"
            raise CheckpointError(
                f"tensor {name}: found {what}, expected one with {ndim} axes; this is no whole "
                "model that nnclip knows (convert foreign files with convert/torch_to_h5.py)"
            )
        return tuple(found)

    def number(self, key: str, default: float, least: float) -> float:
        """A number of the metadata; CheckpointError unless it is one, and at least `least`."""
        found = self.metadata.get(key, default)
        if not isinstance(found, int | float) or not least <= found <= LARGEST:
            raise CheckpointError(
                f"metadata {key}: found {brief(found)}, expected a number of at least {least:g}"
            )
        return float(found)

    def integer(self, key: str, default: int, least: int, most: int = MOST) -> int:
        """The same of a number that must be whole, and no larger than any model has."""
        found = self.number(key, default, least)
        if found != int(found) or found > most:
            raise CheckpointError(
                f"metadata {key}: found {found:g}, expected an integer of at most {most:,}"
            )
        return int(found)

    def preprocess(self, default: Preprocess, least: int) -> Preprocess:
        """What the metadata tells of it, for the rest the default.

        Raises:
            CheckpointError: a value that cannot be, or a resolution below `least`.
        """
        self.integer("resolution", default.resolution, least, MOST_PIXELS)
        try:
            return Preprocess.from_metadata(self.metadata, default)
        except ConfigError as error:
            raise CheckpointError(str(error)) from error

    def choice(self, key: str, default: str, choices: Mapping[str, Any]) -> str:
        """A word of the metadata that is a key of `choices`; CheckpointError if it is not."""
        found = self.metadata.get(key, default)
        if not isinstance(found, str) or found not in choices:
            raise CheckpointError(
                f"metadata {key}: found {brief(found)}, expected one of {', '.join(choices)}"
            )
        return str(found)

    def options(self, tower: type, prefix: str = "") -> dict[str, Any]:
        """The value of each `option` of a tower's class by its field's name; CheckpointError.

        Args:
            tower: the class.
            prefix: of the keys, where the class is a part that both sides have.
        """
        found = {}
        for one in (f for f in dataclasses.fields(tower) if "key" in f.metadata):
            key, choices = prefix + one.metadata["key"], one.metadata["choices"]
            default: Any = one.default
            value = self.metadata.get(key, default)
            if not choices:
                value = self.integer(key, default, 0)
            elif value not in choices:
                raise CheckpointError(
                    f"metadata {key}: found {brief(value)}, expected one of "
                    f"{', '.join(map(str, choices))}"
                )
            found[one.name] = value
        return found

    def has(self, start: str) -> bool:
        """Whether the name of a tensor starts with this."""
        return any(name.startswith(start) for name in self.shapes)

    def numbers_in(self, start: str) -> int:
        """How many different numbers follow `start` in the names of tensors."""
        pattern = re.compile(re.escape(start) + r"(\d+)/")
        return len({int(match[1]) for match in map(pattern.match, self.shapes) if match})
