"""Zero-shot classification: every image gets the class whose texts are nearest.

Axes: N images, C classes, E embedding.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nnclip.errors import DataError
from nnclip.evaluate.metrics import (
    confusion_matrix,
    expected_calibration_error,
    label_ranks,
    mean_per_class_recall,
    per_class_precision,
    per_class_recall,
    top_k_accuracy,
)
from nnclip.graph.losses import SOFTMAX, USUAL, Loss, Scorer

TOP = (1, 5, 10)


@dataclass(frozen=True)
class Classification:
    """The answers of a classifier, and what they are worth.

    Args:
        classes: C names.
        labels: (N,) int64, the right classes.
        logits: (N, C) float32.
        loss: turns logits into probabilities.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    logits: np.ndarray
    loss: Loss = SOFTMAX

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(N, C) float32; with the softmax loss, rows sum to 1."""
        return self.loss.probabilities(self.logits, -1)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(N,) int64, the first of the likeliest classes."""
        return self.logits.argmax(1)

    @cached_property
    def confusion(self) -> np.ndarray:
        """(C, C) int64: rows are right classes, columns answers."""
        return confusion_matrix(self.predicted, self.labels, len(self.classes))

    @property
    def empty_classes(self) -> list[str]:
        """Classes without an image; the means leave them out."""
        totals = self.confusion.sum(1)
        return [name for name, total in zip(self.classes, totals, strict=True) if not total]

    def metrics(self) -> dict[str, float]:
        """acc1, acc5, acc10 (where there are more classes than that), mean_per_class_recall and
        expected_calibration_error, all 0..1."""
        ranks = label_ranks(self.logits, self.labels)
        ks = [k for k in TOP if k == 1 or k < len(self.classes)]
        confidence = self.probabilities.max(1)
        correct = self.predicted == self.labels
        return {
            **{f"acc{k}": top_k_accuracy(ranks, k) for k in ks},
            "mean_per_class_recall": mean_per_class_recall(self.confusion),
            "expected_calibration_error": expected_calibration_error(confidence, correct),
        }

    def per_class(self) -> list[dict[str, object]]:
        """One row a class: its name, images, recall, precision and most frequent mistake.

        What has no meaning is None: the recall of a class without images, the precision of one
        that was never the answer.
        """
        recall, precision = per_class_recall(self.confusion), per_class_precision(self.confusion)
        rows: list[dict[str, object]] = []
        for index, name in enumerate(self.classes):
            others = self.confusion[index].copy()
            total, others[index] = int(others.sum()), 0
            mistaken = self.classes[int(others.argmax())] if others.any() else None
            rows.append(
                {
                    "class": name,
                    "images": total,
                    "recall": None if np.isnan(recall[index]) else float(recall[index]),
                    "precision": None if np.isnan(precision[index]) else float(precision[index]),
                    "mistaken_for": mistaken,
                }
            )
        return rows


def classify(
    images: np.ndarray,
    labels: np.ndarray,
    class_rows: np.ndarray,
    classes: tuple[str, ...],
    scorer: Scorer = USUAL,
) -> Classification:
    """Classify embedded images.

    Args:
        images: (N, E) float32, unit rows.
        labels: (N,) int64 0..C-1.
        class_rows: (C, E) float32 from `class_embeddings`.
        classes: C names.
        scorer: turns cosines into logits; matters to probabilities only.

    Raises:
        DataError: no images, or images and texts of different models.
    """
    if not len(labels):
        raise DataError("no images to classify: at least one was expected")
    if images.shape[1] != class_rows.shape[1]:
        raise DataError(
            f"images have {images.shape[1]} dimensions and texts {class_rows.shape[1]}: "
            "they come from different models"
        )
    logits = scorer.logits(images @ class_rows.T)
    return Classification(classes, np.asarray(labels, np.int64), logits, scorer.loss)
