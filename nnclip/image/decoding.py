"""How image files are decoded, and how large images are decoded in less time.

A photo of 12 million pixels becomes 224 x 224. A JPEG's decoder can leave out what that does not
need: it computes a half, a quarter or an eighth of the pixels along each side. At least twice the
wanted side always remains.
"""

import os
from dataclasses import dataclass
from typing import IO

from PIL import Image
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile, jpeg_factory

REMAINS = 2  # times the wanted side
SCALES = (8, 4, 2)  # of libjpeg
# modes whose pixels can be averaged; others are resized without interpolation, or cannot be
AVERAGED = ("L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "F")
_JP2_START = b"\xff\x4f\xff\x51"  # SOC and SIZ
_COD = b"\xff\x52"
_HEADER = 1 << 16  # bytes that a JPEG 2000's main header lies in


@dataclass(frozen=True)
class Decoding:
    """How a file becomes pixels.

    Attributes:
        exact: decode every pixel, also of images that are much larger than what they become.
        as_seen: as viewers show it: turned upright as its EXIF tag says, 16-bit grey scaled to 8
            bits. Without it, as OpenAI's code: images lie on their side, and 16-bit grey is clipped
            at 255, which makes nearly all of it white.
    """

    exact: bool = False
    as_seen: bool = True

    def __str__(self) -> str:
        """`every pixel, as stored`, and the like."""
        return ", ".join(
            (
                "every pixel" if self.exact else "large images reduced",
                "turned as EXIF says" if self.as_seen else "as stored",
            )
        )


USUAL_DECODING = Decoding()
OPENAI = Decoding(exact=True, as_seen=False)  # as its code reads files


def open_jpeg(file: IO[bytes]) -> Image.Image:
    """As `Image.open`, without its limit of pixels, which ignores that fewer can be decoded."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    image = jpeg_factory(file)
    image.decodermaxblock = size  # in one piece: libjpeg begins a row anew where its input ends
    return image


def spare(size: tuple[int, int], side: int | None, of: str) -> int:
    """How many times smaller an image may be along each side; 1 if it may not.

    Args:
        size: of the image.
        side: what its side is going to be resized to; None if all pixels are wanted.
        of: which side; "longest", or any other word for the shortest.
    """
    if side is None:
        return 1
    return max(1, (max(size) if of == "longest" else min(size)) // (REMAINS * side))


def reduce_on_load(image: Image.Image, times: int) -> int:
    """Let a file's decoder give fewer pixels where it can.

    Args:
        image: not loaded yet.
        times: how many times fewer along each side, at most.

    Returns:
        How many times fewer it gives.
    """
    if isinstance(image, JpegImageFile):
        scale = next((scale for scale in SCALES if scale <= times), 1)
        if scale > 1:
            image.draft(None, (max(1, image.width // scale), max(1, image.height // scale)))
        return image.decoderconfig[0] if image.decoderconfig else 1
    if isinstance(image, Jpeg2KImageFile):
        halvings = min(times.bit_length() - 1, _levels(image))
        while not all(_pillow_agrees(side, halvings) for side in image.size):
            halvings -= 1
        image.reduce = halvings
        return 1 << halvings
    return 1


def reduce_loaded(image: Image.Image, times: int) -> tuple[Image.Image, int]:
    """A loaded image up to `times` smaller, each pixel the mean of those it replaces; how much."""
    if times == 1 or image.mode not in AVERAGED:
        return image, 1
    return Image.Image.reduce(image, times), times  # JPEG 2000's class has a number of that name


def _pillow_agrees(side: int, halvings: int) -> bool:
    """Whether Pillow rounds a side of a JPEG 2000 as its decoder does, upwards."""
    return (side + (1 << halvings >> 1)) >> halvings == -(-side >> halvings)


def _levels(image: Jpeg2KImageFile) -> int:
    """How often a JPEG 2000 can be halved; 0 where its header does not say."""
    assert image.fp is not None
    at = image.fp.tell()
    image.fp.seek(0)
    head = image.fp.read(_HEADER)
    image.fp.seek(at)
    place = head.find(_JP2_START) + 2
    while place >= 2 and head[place : place + 2] != _COD:
        length = int.from_bytes(head[place + 2 : place + 4], "big")
        if length < 2 or place + length >= len(head):
            return 0
        place += 2 + length
    # COD: length 2, style 1, progression 1, layers 2, transformation 1, then the levels
    levels = head[place + 9 : place + 10]
    return levels[0] if place >= 2 and levels else 0
