"""Which images show writing and nothing else, by their pixels: rough, and of no model.

A page, a slide or a sentence on a plain ground is mostly ground, its colours lie on one line from
paper to ink, and its ink is nearly all edge, in several strokes a row.

Axes: N images, 3 channels, R resolution, H rows, W columns.
"""

import numpy as np

NEAR = 28  # levels of grey that make no edge, and no ink beside the commonest level
GROUND = 0.5  # least share of pixels around the commonest level
INK = 0.01  # least share of pixels
LINE = 0.98  # least share of the colours' variance along its first direction
EDGE = 0.4  # least number of edges, as a share of the ink
STROKES = 4  # at least, in the middle of the rows that hold ink


def text_only(planes_N3RR: np.ndarray) -> np.ndarray:
    """Whether images show writing alone, (N,) bool.

    Args:
        planes_N3RR: (N, 3, R, R) uint8, as `Preprocess.planes` gives them.
    """
    return np.array([_is_writing(planes_3RR) for planes_3RR in planes_N3RR], bool)


def _is_writing(planes_3HW: np.ndarray) -> bool:
    red_HW, green_HW, blue_HW = planes_3HW.astype(np.int16)
    grey_HW = (red_HW + 2 * green_HW + blue_HW) >> 2
    levels = np.bincount(grey_HW.ravel(), minlength=256)
    around = np.convolve(levels, np.ones(2 * (NEAR * 3 // 4) - 1), "same")
    ground = int(around.argmax())
    if around[ground] < GROUND * grey_HW.size:
        return False
    ink_HW = np.abs(grey_HW - ground) > NEAR
    if ink_HW.mean() < INK:
        return False
    edges = np.count_nonzero(np.abs(np.diff(grey_HW, axis=1)) > NEAR)
    if edges < EDGE * np.count_nonzero(ink_HW):
        return False
    strokes_H = np.count_nonzero(ink_HW[:, 1:] > ink_HW[:, :-1], axis=1)
    if np.median(strokes_H[ink_HW.any(1)]) < STROKES:
        return False
    spreads = np.linalg.eigvalsh(np.cov(planes_3HW.reshape(3, -1)))
    return bool(spreads[-1] >= LINE * spreads.sum())
