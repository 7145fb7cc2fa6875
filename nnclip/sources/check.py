"""Whether the images of a source can be read: a look at many of them, and a sample decoded."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from nnclip.errors import DataError
from nnclip.files import to_name
from nnclip.sources.readers import open_stored
from nnclip.sources.sample import Stored

logger = logging.getLogger(__name__)

LOOKED_FOR = 10_000  # files whose presence is asked for
DECODED = 16  # images


class Images(Protocol):
    """Images by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Stored: ...


def check_images(stored: Images, where: str, most: int | None = None, empty: int = 0) -> None:
    """Look for the files of images, and decode a sample; warns of those that cannot be read.

    Args:
        stored: the images, at least one.
        where: what names them, for the messages; such as `--val-txt-path held-out.csv`.
        most: how many images and captions may be broken; None requires a single good image.
        empty: captions that are.

    Raises:
        DataError: none of the sample can be read, or more than `most` are broken.
    """
    rows = spread(len(stored), LOOKED_FOR)
    paths = {row: stored[row].path for row in rows}
    there = {path: os.path.lexists(path) for path in set(paths.values())}
    broken = {
        row: f"{to_name(path)}: no such file" for row, path in paths.items() if not there[path]
    }
    sample = spread(len(stored), DECODED)
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(_problem, (stored[row] for row in sample)))
    wrong = {row: text for row, text in zip(sample, said, strict=True) if text is not None}
    broken |= wrong
    if not broken:
        return
    first = broken[min(broken)]
    of = f"{len(rows)}" if len(rows) == len(stored) else f"{len(rows)} sampled of {len(stored)}"
    if len(wrong) == len(sample):
        raise DataError(
            f"{where}: found no readable image among {len(sample)} of {len(stored)}, the first: "
            f"{first}; check the paths (--image-root)"
        )
    if most is not None and len(broken) + empty > most:
        raise DataError(
            f"{where}: found {len(broken)} broken images and {empty} empty captions among {of}, "
            f"more than --max-bad {most}, the first: {first}"
        )
    logger.warning("%s: %d of %s images cannot be read, such as %s", where, len(broken), of, first)


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0 to count - 1, evenly spread, the first and the last too."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, most))})


def _problem(stored: Stored) -> str | None:
    try:
        open_stored(stored)
    except DataError as error:
        return str(error)
    return None
