"""What a reduced image shows of its file: its last column and row may be less than a pixel wide.

A file of 403 x 302 pixels that is decoded to an eighth has 51 x 38 of them; its content fills only
50.4 x 37.8. Who resizes the image and takes all of it makes the content 1 % too small.
"""

from dataclasses import dataclass

from PIL import Image, ImageOps

from nnclip.image.geometry import Box, FloatBox, Size

ORIENTATION = 0x0112  # of EXIF
SWAPPED = (5, 6, 7, 8)  # orientations that exchange width and height, and then mirror:
LEFT_RIGHT = (2, 3, 6, 7)
TOP_BOTTOM = (3, 4, 7, 8)
_KEY = "nnclip"


@dataclass(frozen=True)
class Extent:
    """Of an image.

    Attributes:
        stored: the size of the file's image, turned as this one.
        content: the part of this image that shows it.
        size: of this image.
    """

    stored: Size
    content: FloatBox
    size: Size

    @property
    def whole(self) -> bool:
        """Whether the image has every pixel of its file."""
        return self.stored == self.size

    def part(self, box: Box, of: Size) -> FloatBox:
        """Where a box lies in this image that is counted in the content resized to size `of`."""
        left, top, right, bottom = self.content
        x, y = (right - left) / of[0], (bottom - top) / of[1]
        # within the content, whatever was rounded
        return (
            max(left + box[0] * x, left),
            max(top + box[1] * y, top),
            min(left + box[2] * x, right),
            min(top + box[3] * y, bottom),
        )


def extent_of(image: Image.Image) -> Extent:
    """What an image shows; all of an image that `reduced` did not mark, or that changed since."""
    found = image.info.get(_KEY)
    if isinstance(found, Extent) and found.size == image.size:
        return found
    return Extent(image.size, (0, 0, *image.size), image.size)


def mark_reduced(image: Image.Image, stored: Size, times: int) -> None:
    """Remember in an image of which it has `times` fewer pixels along each side."""
    width, height = image.size
    content = 0, 0, min(stored[0] / times, width), min(stored[1] / times, height)
    image.info[_KEY] = Extent(stored, content, image.size)


def turned(image: Image.Image) -> Image.Image:
    """An image as its EXIF tag says that it is seen, and its extent with it."""
    orientation = image.getexif().get(ORIENTATION, 1)
    if orientation not in range(2, 9):
        return image
    extent, image = extent_of(image), ImageOps.exif_transpose(image)
    stored, box, (width, height) = extent.stored, extent.content, image.size
    if orientation in SWAPPED:
        stored, box = stored[::-1], (box[1], box[0], box[3], box[2])
    if orientation in LEFT_RIGHT:
        box = width - box[2], box[1], width - box[0], box[3]
    if orientation in TOP_BOTTOM:
        box = box[0], height - box[3], box[2], height - box[1]
    if not extent.whole:
        image.info[_KEY] = Extent(stored, box, image.size)
    return image
