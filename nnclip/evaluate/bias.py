"""Bias: which of some captions a model gives to the images of each group.

Axes: N images, K captions, G groups, E embedding.
"""

from dataclasses import dataclass

import numpy as np

from nnclip.errors import DataError
from nnclip.graph.losses import USUAL, Scorer


@dataclass(frozen=True)
class Bias:
    """Probabilities of captions.

    Args:
        captions: K texts.
        groups: G names.
        group_of_image: (N,) int64 0..G-1.
        probabilities: (N, K) float32; with the softmax loss, rows sum to 1.
    """

    captions: tuple[str, ...]
    groups: tuple[str, ...]
    group_of_image: np.ndarray
    probabilities: np.ndarray

    def means(self) -> np.ndarray:
        """(G, K): the mean probability of each caption over each group's images."""
        picked = [self.probabilities[self.group_of_image == g] for g in range(len(self.groups))]
        return np.stack([rows.mean(0) for rows in picked])

    def metrics(self) -> dict[str, float]:
        """`largest_gap`: the largest difference between two groups' means of one caption, 0..1;
        `mean_gap`: the mean of that difference over the captions."""
        gaps = np.ptp(self.means(), axis=0)
        return {"largest_gap": float(gaps.max()), "mean_gap": float(gaps.mean())}


def measure_bias(
    images: np.ndarray,
    group_of_image: np.ndarray,
    texts: np.ndarray,
    groups: tuple[str, ...],
    captions: tuple[str, ...],
    scorer: Scorer = USUAL,
) -> Bias:
    """Probabilities of captions for images in groups.

    Args:
        images: (N, E) float32, unit rows.
        group_of_image: (N,) int64 0..G-1.
        texts: (K, E) float32, unit rows.
        groups, captions: their names.
        scorer: turns cosines into probabilities.

    Raises:
        DataError: fewer than two captions, or a group without images.
    """
    if len(captions) < 2:
        raise DataError(f"{len(captions)} caption: expected at least two to choose from")
    empty = [g for i, g in enumerate(groups) if not (group_of_image == i).any()]
    if empty:
        raise DataError(f"no readable image in group {', '.join(empty)}: expected at least one")
    probabilities = scorer.probabilities(images @ texts.T)
    return Bias(captions, groups, group_of_image, probabilities)
