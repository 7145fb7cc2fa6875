"""Connected regions of a segmented image, and the boxes around them.

Axes: H and W pixels.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

MOST = 256  # labels of a mask
# of Okabe and Ito, which colour-blind readers tell apart
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#f0e442", "#666666")
LEAST = 0.01  # share of the image that a region has at least


class Box(NamedTuple):
    """A region of one text.

    Attributes:
        text: its number.
        left, top, right, bottom: in pixels; right and bottom are the first outside.
        share: of the image that the region covers, 0 to 1.
    """

    text: int
    left: int
    top: int
    right: int
    bottom: int
    share: float


def mask_of(labels_HW: np.ndarray) -> Image.Image:
    """An image whose pixels are the numbers of labels, below MOST, under a palette of colours."""
    mask = Image.fromarray(labels_HW.astype(np.uint8), "P")
    mask.putpalette(bytes.fromhex("".join(c[1:] for c in COLOURS)) * (MOST // len(COLOURS)))
    return mask


def boxes(labels_HW: np.ndarray, least: float = LEAST) -> list[Box]:
    """A box around each region of one label, the largest regions first.

    Pixels belong together where they share an edge.

    Args:
        labels_HW: (H, W) integers, the number of a text for each pixel.
        least: share of the image below which a region is left out.
    """
    runs = _runs(labels_HW)
    leader = _joined(runs, labels_HW.shape[0])
    found = []
    for head in np.unique(leader):
        row, start, end, label = runs[leader == head].T
        share = float((end - start).sum() / labels_HW.size)
        if share >= least:
            edges = int(start.min()), int(row.min()), int(end.max()), int(row.max()) + 1
            found.append(Box(int(label[0]), *edges, share))
    return sorted(found, key=lambda box: -box.share)


def _runs(labels_HW: np.ndarray) -> np.ndarray:
    """Runs of one label along the rows, (count, 4): row, start, end, label."""
    height, width = labels_HW.shape
    begins_HW = np.ones((height, width), bool)
    begins_HW[:, 1:] = labels_HW[:, 1:] != labels_HW[:, :-1]
    row, start = np.nonzero(begins_HW)
    following = np.append(start[1:], 0)
    end = np.where(following == 0, width, following)  # a row begins at 0
    return np.stack([row, start, end, labels_HW[row, start]], axis=1)


def _joined(runs: np.ndarray, height: int) -> np.ndarray:
    """For each run, the first run of its region."""
    leader = list(range(len(runs)))

    def first(run: int) -> int:
        while leader[run] != run:
            leader[run] = leader[leader[run]]
            run = leader[run]
        return run

    starts = np.searchsorted(runs[:, 0], np.arange(height + 1)).tolist()
    begin, end, label = runs[:, 1:].T.tolist()
    for above in range(height - 1):
        a, b = starts[above], starts[above + 1]
        while a < starts[above + 1] and b < starts[above + 2]:
            if label[a] == label[b] and begin[a] < end[b] and begin[b] < end[a]:
                low, high = sorted((first(a), first(b)))
                leader[high] = low
            if end[a] < end[b]:
                a += 1
            else:
                b += 1
    return np.array([first(run) for run in range(len(runs))])
