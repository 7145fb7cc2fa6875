"""An image file, with a caption beside it or none."""

from collections.abc import Iterator

from nnclip.image.formats import is_image_file
from nnclip.sources.captions import captions_beside
from nnclip.sources.reader import Reader
from nnclip.sources.sample import Ask, Found, Sample


def read(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """The one sample."""
    said = captions_beside(source, found.not_read) if ask.captions else None
    yield Sample(source, captions=said[1] if said else ())


IMAGE = Reader(
    "image",
    "an image",
    lambda source, _: is_image_file(source),
    read,
)
