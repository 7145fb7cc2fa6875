"""Images that keep their shape, packed into one square: a grid of patches, and what grid it is.

An image is resized so that both sides are whole patches and there are at most K of them. Its
patches, row by row, fill the cells of a square, row by row. The last cell tells the grid in binary
numbers, the lowest bit first, black for 0 and white for 1: its rows in red, its columns in green.
So an image of any shape is a square of bytes like every other, and the graph alone takes it apart.

Axes: N batch, R resolution, P pixels along a side of a patch, K patches, B bits.
"""

import math

import numpy as np
from PIL import Image

from nnclip.image.geometry import Size

MOST_SCALE, LEAST_SCALE, STEP = 100.0, 1e-6, 1e-5  # of transformers' search


def packed_side(patches: int) -> int:
    """Cells along a side of the square that holds so many patches and the cell of the grid."""
    return math.isqrt(patches) + 1


def bits_of(patches: int) -> int:
    """B, the bits that tell a side of a grid of so many patches."""
    return patches.bit_length()


def grid_of(size: Size, patch: int, patches: int) -> Size:
    """The grid (columns, rows) that an image of this size is resized to.

    The largest scale is searched by halving, to the bit of transformers' search.

    Source: Siglip2ImageProcessor of transformers.
    """

    def scaled(scale: float) -> Size:
        width, height = (max(1, math.ceil(length * scale / patch)) for length in size)
        return width, height

    low, high = LEAST_SCALE, MOST_SCALE
    while high - low >= STEP:
        scale = (low + high) / 2
        if math.prod(scaled(scale)) <= patches:
            low = scale
        else:
            high = scale
    return scaled(low)


def packed(image: Image.Image, patch: int, patches: int) -> Image.Image:
    """An RGB image whose sides are whole patches, as a square of R x R pixels."""
    columns, rows = image.width // patch, image.height // patch
    cells = np.asarray(image).reshape(rows, patch, columns, patch, 3).transpose(0, 2, 1, 3, 4)
    side, bits = packed_side(patches), np.arange(bits_of(patches))
    square = np.zeros((side * side, patch * patch, 3), np.uint8)
    square[: rows * columns] = cells.reshape(rows * columns, patch * patch, 3)
    for channel, length in enumerate((rows, columns)):
        square[-1, : len(bits), channel] = 255 * (length >> bits & 1)
    whole = square.reshape(side, side, patch, patch, 3).transpose(0, 2, 1, 3, 4)
    return Image.fromarray(whole.reshape(side * patch, side * patch, 3))


def cells_of(images_N3RR: np.ndarray, patch: int) -> np.ndarray:
    """(N, 3, R, R) -> (N, cells, P * P * 3): pixels in the order row, column, channel."""
    n, side = len(images_N3RR), images_N3RR.shape[-1] // patch
    cells = images_N3RR.reshape(n, 3, side, patch, side, patch).transpose(0, 2, 4, 3, 5, 1)
    return cells.reshape(n, side * side, patch * patch * 3)


def unpacked(
    images_N3RR: np.ndarray, patch: int, patches: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What transformers' processor gives, of squares that `Preprocess` has packed.

    Args:
        images_N3RR: float32, normalised.
        patch: P.
        patches: K, or more, that fill the square alike.

    Returns:
        patches (N, K, P * P * 3), zeros behind an image's last one; which are patches (N, K), 0 or
        1; and the rows and columns of each grid (N, 2); both int64.
    """
    cells, bits = cells_of(images_N3RR, patch), np.arange(bits_of(patches))
    told = cells[:, -1].reshape(len(cells), patch * patch, 3)[:, :, :2]
    halfway = (told.min(axis=1, keepdims=True) + told.max(axis=1, keepdims=True)) / 2
    ones = (told > halfway)[:, : len(bits)].astype(np.int64)
    grids_N2 = (ones << bits[:, None]).sum(axis=1)
    there_NK = np.arange(patches) < grids_N2.prod(axis=1, keepdims=True)
    return cells[:, :patches] * there_NK[:, :, None], there_NK.astype(np.int64), grids_N2


def repacked(
    patches_KV: np.ndarray, grid: tuple[int, int], black_V: np.ndarray, white_V: np.ndarray
) -> np.ndarray:
    """The inverse for one image: (3, R, R).

    Args:
        patches_KV: (K, P * P * 3), what lies behind the last patch does not count.
        grid: its rows and columns.
        black_V: a patch of black pixels.
        white_V: a patch of white ones.
    """
    most, patch = len(patches_KV), math.isqrt(len(black_V) // 3)
    side, count = packed_side(most), grid[0] * grid[1]
    cells = np.tile(black_V, (side * side, 1))
    cells[:count] = patches_KV[:count]
    last, white = cells[-1].reshape(-1, 3), white_V.reshape(-1, 3)
    for channel, length in enumerate(grid):
        ones = np.flatnonzero(int(length) >> np.arange(bits_of(most)) & 1)
        last[ones, channel] = white[ones, channel]
    square = cells.reshape(side, side, patch, patch, 3).transpose(4, 0, 2, 1, 3)
    return square.reshape(3, side * patch, side * patch)
