"""What a kind of source has to offer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nnclip.sources.sample import Ask, Found, Sample


@dataclass(frozen=True)
class Reader:
    """A kind of source: a row of `nnclip.sources.readers.READERS`.

    Attributes:
        name: of the kind; samples whose bytes are no image file carry it as their `form`.
        told_by: how a source of this kind is told, for people.
        claims: whether a source is of this kind; a source is a path, or any text that a kind knows.
        read: its samples, in an order that does not change.
        load: bytes of an image file, of the sample at a path, offset and size; None where the
            samples are image files.
    """

    name: str
    told_by: str
    claims: Callable[[str, Ask], bool]
    read: Callable[[str, Ask, Found], Iterator[Sample]]
    load: Callable[[str, int, int], bytes] | None = None
