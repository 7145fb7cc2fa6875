"""Near-duplicates: every pair is compared, block by block.

Axes: N rows, E embedding.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from nnclip.errors import ConfigError
from nnclip.search.rows import Rows, gather

BLOCK = 2048  # rows that are compared with as many at once


def duplicate_groups(
    blocks: Sequence[Rows], dead: np.ndarray, threshold: float
) -> list[tuple[list[int], float]]:
    """Groups of rows, each near at least one other of its group; the closest groups first.

    Takes time in proportion to the square of the rows: some minutes for 200,000 on two cores.

    Args:
        blocks: arrays (n, E) of unit vectors that together are all rows.
        dead: rows that do not count.
        threshold: cosine from which two rows are duplicates.

    Returns:
        Rows of each group, ascending, and the least cosine by which one of them joined it.

    Raises:
        ConfigError: a threshold outside 0..1.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"threshold {threshold}: expected above 0 and at most 1")
    total = sum(map(len, blocks))
    leader, least = np.arange(total), np.ones(total)
    for a, b, cosine in _pairs(blocks, dead, threshold):
        first, second = sorted((_leader(leader, a), _leader(leader, b)))
        if first == second:
            continue
        least[first] = min(least[first], least[second], cosine)
        leader[second] = first
    groups: dict[int, list[int]] = {}
    for row in np.flatnonzero(leader != np.arange(total)).tolist():
        head = _leader(leader, row)
        groups.setdefault(head, [head]).append(row)
    found = [(rows, round(float(least[head]), 4)) for head, rows in groups.items()]
    return sorted(found, key=lambda group: (-group[1], group[0]))


def _pairs(
    blocks: Sequence[Rows], dead: np.ndarray, threshold: float
) -> Iterator[tuple[int, int, float]]:
    """Pairs of rows and their cosine; the closest pairs of two blocks first."""
    total = sum(map(len, blocks))
    alive = np.setdiff1d(np.arange(total), dead, assume_unique=True)
    spans = [alive[at : at + BLOCK] for at in range(0, len(alive), BLOCK)]
    for number, span in enumerate(tqdm(spans, desc="comparing", unit="block", disable=None)):
        rows_NE = gather(blocks, span)
        for other in spans[number:]:
            cosines = rows_NE @ (rows_NE if other is span else gather(blocks, other)).T
            if other is span:
                cosines[np.tril_indices(len(span))] = -1
            a, b = np.nonzero(cosines >= threshold)
            order = np.argsort(-cosines[a, b], kind="stable")
            for i, j in zip(a[order], b[order], strict=True):
                yield int(span[i]), int(other[j]), float(cosines[i, j])


def _leader(leader: np.ndarray, row: int) -> int:
    """The first row of the group, so far, that a row is in."""
    while leader[row] != row:
        leader[row] = leader[leader[row]]
        row = int(leader[row])
    return row
