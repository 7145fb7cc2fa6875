"""Maps that follow the edges of an image: the guided filter, its coefficients on a coarse grid.

Axes: T maps, H and W pixels, h and w places of the coarse grid, 3 channels.

Source: He, Sun and Tang, Guided Image Filtering (2010), equations 19 to 21, for a guide in colours;
He and Sun, Fast Guided Filter (2015).
"""

import numpy as np
from PIL import Image

COARSE = 128  # places along the longer side


def guided(
    maps_THW: np.ndarray, image: Image.Image, radius: float, smoothness: float
) -> np.ndarray:
    """Maps smoothed within areas of one colour, not across their edges.

    Args:
        maps_THW: (T, H, W) float32.
        image: RGB, W x H: the guide.
        radius: of the window, as a share of the shorter side.
        smoothness: epsilon of the paper: colours, 0 to 1, that vary less than its root are one.

    Returns: (T, H, W) float32.
    """
    small = image.copy()
    small.thumbnail((COARSE, COARSE), Image.Resampling.BOX)
    reach = max(round(radius * min(small.size)), 1)
    guide_hw3 = np.asarray(small, np.float32) / 255
    full_HW3 = np.asarray(image, np.float32) / 255
    mean_hw3 = _box_mean(guide_hw3, reach)
    products_hw33 = guide_hw3[..., None] * guide_hw3[..., None, :]
    spread_hw33 = _box_mean(products_hw33, reach) - mean_hw3[..., None] * mean_hw3[..., None, :]
    spread_hw33 += smoothness * np.eye(3, dtype=np.float32)
    found = np.empty_like(maps_THW)
    for index, map_HW in enumerate(maps_THW):
        map_hw1 = resized(map_HW, small.size)[..., None]
        mean_hw1 = _box_mean(map_hw1, reach)
        shared_hw3 = _box_mean(guide_hw3 * map_hw1, reach) - mean_hw1 * mean_hw3
        slope_hw3 = np.linalg.solve(spread_hw33, shared_hw3[..., None])[..., 0]
        offset_hw1 = mean_hw1 - (slope_hw3 * mean_hw3).sum(2, keepdims=True)
        lines_hw4 = _box_mean(np.concatenate([slope_hw3, offset_hw1], 2), reach)
        lines_4HW = [resized(line_hw, image.size) for line_hw in np.moveaxis(lines_hw4, 2, 0)]
        found[index] = lines_4HW[3] + sum(
            full_HW3[..., channel] * lines_4HW[channel] for channel in range(3)
        )
    return found


def resized(plane_HW: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A plane in other pixels: width, height."""
    plane = Image.fromarray(np.ascontiguousarray(plane_HW, np.float32))
    return np.asarray(plane.resize(size, Image.Resampling.BILINEAR))


def _box_mean(planes: np.ndarray, radius: int) -> np.ndarray:
    """The mean of a square around each place, cut at the borders, of (h, w, ...) float32."""
    for axis in (0, 1):
        size = planes.shape[axis]
        sums = np.cumsum(planes, axis=axis, dtype=np.float64)
        sums = np.concatenate([np.zeros_like(sums.take([0], axis)), sums], axis)
        low = np.maximum(np.arange(size) - radius, 0)
        high = np.minimum(np.arange(size) + radius + 1, size)
        counts = np.expand_dims(high - low, tuple(a for a in range(planes.ndim) if a != axis))
        planes = (sums.take(high, axis) - sums.take(low, axis)) / counts
    return planes.astype(np.float32)
