"""Which text each pixel shows: the highest of the dense maps. Rough: places are large.

Axes: T texts, G places along a side, H and W pixels.
"""

from dataclasses import replace

import numpy as np
from PIL import Image

from nnclip.errors import ConfigError, DataError
from nnclip.explain.dense import DENSE
from nnclip.explain.guided import guided, resized
from nnclip.explain.subject import Subject, check_one_grid, usual_resolution

LONGEST = 512  # pixels of the image that is segmented
LONGEST_SIDE = 8  # times the shorter one
APART = 0.5  # step between two windows, as a share of one
FINER = 1.5  # than the tower's own resolution: the best of `benchmarks/explain.py`
RADIUS, SMOOTHNESS = 0.2, 1e-3  # of the refinement, see `guided`


def windows(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Squares that cover an image along its longer side: left, top, right, bottom of each."""
    side, longest = min(width, height), max(width, height)
    count = 1 + int(np.ceil((longest - side) / (APART * side)))
    starts = np.linspace(0, longest - side, count).round().astype(int).tolist()
    if width >= height:
        return [(at, 0, at + side, side) for at in starts]
    return [(0, at, side, at + side) for at in starts]


def segment(
    subject: Subject,
    image: Image.Image,
    text_TE: np.ndarray,
    method: str,
    resolution: int | None = None,
    refine: bool = True,
) -> np.ndarray:
    """Which text each pixel of an image shows best; each shows one.

    Args:
        subject: the model.
        image: any mode and size; a long one is looked at in overlapping squares.
        text_TE: embeddings of texts, of unit length, T at least 2.
        method: "maskclip", "sclip" or "clearclip".
        resolution: pixels along a side that the model sees of a square; None for one and a
            half times its own.
        refine: whether borders follow those of colours.

    Returns: (H, W) int32 of 0 to T - 1, for the image's own size.

    Raises:
        DataError: an image that is much longer than wide.
        ConfigError: fewer than two texts, another method, or a resolution that the tower cannot
            have.
    """
    check_one_grid(subject)
    if method not in DENSE:
        raise ConfigError(
            f"method {method!r}: found one whose maps cannot be compared with each other, expected "
            f"one of {', '.join(DENSE)}"
        )
    if len(text_TE) < 2:
        raise ConfigError(
            f"found {len(text_TE)} text, expected at least 2: each pixel gets the one that fits "
            'best; add what else is there, as in -t dog -t "the background"'
        )
    if max(image.size) > LONGEST_SIDE * min(image.size):
        raise DataError(
            f"found an image of {image.width} x {image.height}, expected one side at most "
            f"{LONGEST_SIDE} times the other; crop it"
        )
    small = image.convert("RGB")
    small.thumbnail((LONGEST, LONGEST))
    maps_THW = _maps(subject, image, small.size, text_TE, method, resolution)
    if refine:
        maps_THW = guided(maps_THW, small, RADIUS, SMOOTHNESS)
    labels = Image.fromarray(maps_THW.argmax(0).astype(np.int32))
    return np.asarray(labels.resize(image.size, Image.Resampling.NEAREST))


def _maps(
    subject: Subject,
    image: Image.Image,
    size: tuple[int, int],
    text_TE: np.ndarray,
    method: str,
    resolution: int | None,
) -> np.ndarray:
    """Cosines with the texts at `size` pixels, (T, H, W) float32; windows are averaged."""
    tower, (width, height) = subject.weights.config.image, size
    usual = tower.stride * round(FINER * usual_resolution(tower) / tower.stride)
    side = resolution or usual
    way = DENSE[method]
    graph = subject.graph(way.name, way.emit, side)
    preprocess = replace(tower.preprocess.at(side), resize="squash", size=None)
    sums_THW = np.zeros((len(text_TE), height, width), np.float32)
    counts_HW = np.zeros((height, width), np.float32)
    scale = image.width / width, image.height / height
    for left, top, right, bottom in windows(width, height):
        box = left * scale[0], top * scale[1], right * scale[0], bottom * scale[1]
        seen = image.crop(tuple(map(round, box)))  # type: ignore[arg-type]
        maps_TGG = way.maps(graph, preprocess(seen)[None], text_TE)
        spot = ..., slice(top, bottom), slice(left, right)
        wanted = right - left, bottom - top
        sums_THW[spot] += np.stack([resized(each, wanted) for each in maps_TGG])
        counts_HW[spot] += 1
    return sums_THW / counts_HW
