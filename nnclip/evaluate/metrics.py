"""The numbers, as functions of NumPy arrays.

Axes: N examples, C classes, B bins.
"""

from collections.abc import Sequence

import numpy as np


def label_ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The rank of the right class, 1 the best.

    Rows are examples, columns are classes:

        scores            labels   ranks
        [[0.1, 0.9, 0.0],   [1,     [1,     the right class scores highest
         [0.5, 0.2, 0.3],    2,      2,     one class scores higher
         [0.4, 0.4, 0.4]]    1]      2]     of equal ones the first stands first

    Args:
        scores: (N, C) float, higher is likelier.
        labels: (N,) integers 0..C-1.

    Returns:
        (N,) int64, 1..C.
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1])[None, :] < labels[:, None]
    return 1 + (scores > own).sum(1) + ((scores == own) & before).sum(1)


def top_k_accuracy(ranks: np.ndarray, k: int) -> float:
    """The share of examples whose right class is among the first k: [1, 3, 2], k = 2 -> 2/3.

    Args:
        ranks: (N,) from `label_ranks`, N >= 1.
    """
    return float((ranks <= k).mean())


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """How often each class was taken for each.

    Rows are right classes, columns are answers:

        labels    [0, 0, 1, 2]        [[1, 1, 0],    of two 0s one was taken for a 1
        predicted [0, 1, 1, 2]   ->    [0, 1, 0],
                                       [0, 0, 1]]

    Args:
        predicted: (N,) integers 0..C-1.
        labels: (N,) integers 0..C-1.
        classes: C.

    Returns:
        (C, C) int64.
    """
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def per_class_recall(confusion: np.ndarray) -> np.ndarray:
    """The share of each class that was recognised; NaN for a class without examples.

        [[1, 1, 0],
         [0, 2, 0],   ->   [0.5, 1.0, nan]
         [0, 0, 0]]

    Args:
        confusion: (C, C) from `confusion_matrix`.

    Returns:
        (C,) float64.
    """
    totals = confusion.sum(1)
    return np.where(totals > 0, np.diag(confusion) / np.maximum(totals, 1), np.nan)


def per_class_precision(confusion: np.ndarray) -> np.ndarray:
    """The share of answers "this class" that were right; NaN where it was never the answer.

        [[1, 1, 0],
         [0, 2, 0],   ->   [1.0, 0.667, nan]
         [0, 0, 0]]

    Returns:
        (C,) float64.
    """
    return per_class_recall(confusion.T)


def mean_per_class_recall(confusion: np.ndarray) -> float:
    """The mean of `per_class_recall` over the classes that have examples, of a table (C, C)."""
    return float(np.nanmean(per_class_recall(confusion)))


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = 15
) -> float:
    """How far confidence is from accuracy: sum over bins of share * |accuracy - mean confidence|.

    Bin b of B holds the examples with confidence in (b/B, (b+1)/B]. With two bins:

        confidence [0.3, 0.4, 0.8, 0.9]    bin (0, 0.5]: accuracy 0.5, confidence 0.35
        correct    [0,   1,   1,   1  ]    bin (0.5, 1]: accuracy 1.0, confidence 0.85
                                           0.5 * 0.15 + 0.5 * 0.15 = 0.15

    Args:
        confidence: (N,) probability of the answer, 0..1.
        correct: (N,) whether the answer was right.

    Source: Guo et al. 2017, equation 3.
    """
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    gap = np.bincount(bin_of, weights=correct.astype(float) - confidence, minlength=bins)
    return float(np.abs(gap).sum() / max(count.sum(), 1))


def reliability_bins(
    confidence: np.ndarray, correct: np.ndarray, bins: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a reliability diagram shows of each bin of `expected_calibration_error`.

    Returns:
        Mean confidence, accuracy (both NaN in an empty bin) and number of examples, (B,) each.
    """
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    sums = [np.bincount(bin_of, weights=w, minlength=bins) for w in (confidence, correct)]
    mean, accuracy = (np.where(count > 0, s / np.maximum(count, 1), np.nan) for s in sums)
    return mean, accuracy, count


def rank_summary(ranks: np.ndarray, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """What a list of ranks says: ranks [1, 1, 4, 12] -> recall@1 0.5, recall@5 0.75,
    recall@10 0.75, mean_rank 4.5, median_rank 2.5.

    Args:
        ranks: (N,) integers from 1, N >= 1.
        ks: for recall@k.
    """
    recalls = {f"recall@{k}": top_k_accuracy(ranks, k) for k in ks}
    return {**recalls, "mean_rank": float(ranks.mean()), "median_rank": float(np.median(ranks))}
