"""An image file, with a caption beside it or none."""

from collections.abc import Iterator

from nnclip.image.formats import is_image_file
from nnclip.sources.folder import captions_beside
from nnclip.sources.reader import Reader
from nnclip.sources.sample import Ask, Found, Sample


def read(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """The one sample."""
    yield Sample(source, captions=captions_beside(source, found) if ask.captions else ())


IMAGE = Reader(
    "image",
    "an image",
    lambda source, _: is_image_file(source),
    read,
)
