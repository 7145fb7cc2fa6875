"""Preprocessing in two halves, for decoding in one process and computing in another.

The first half gives bytes, a quarter of what floats would take on the way. Both together are
`preprocess`, to the bit.

Array axes: N batch, 3 the channels red, green, blue, R the resolution.
"""

import numpy as np

from nnclip.image.opening import open_image
from nnclip.image.preprocess import Triple, central_square, normalised_values


def planes(content: bytes, resolution: int) -> np.ndarray:
    """The bytes of a picture file -> (3, R, R) uint8: resized, cropped, not yet normalised.

    Raises:
        DataError: not a picture, a damaged one, or one that is too large.
    """
    square = central_square(open_image(content), resolution).convert("RGB")
    return np.stack([np.asarray(channel) for channel in square.split()])


def normalise_planes(planes_N3RR: np.ndarray, mean: Triple, std: Triple) -> np.ndarray:
    """(N, 3, R, R) uint8 from `planes` -> float32, as `preprocess` gives them."""
    x_N3RR = np.empty(planes_N3RR.shape, np.float32)
    for c, values in enumerate(normalised_values(tuple(mean), tuple(std))):
        x_N3RR[:, c] = values[planes_N3RR[:, c]]
    return x_N3RR
