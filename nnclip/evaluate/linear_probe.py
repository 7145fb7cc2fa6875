"""Linear probe: how well a logistic regression on frozen embeddings classifies.

Axes: N images, C classes, E embedding.
"""

import logging
import warnings
from dataclasses import dataclass

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.evaluate.zero_shot import Classification

logger = logging.getLogger(__name__)

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)  # of the data against the penalty (scikit-learn's C)
HELD_BACK = 0.2


@dataclass(frozen=True)
class Examples:
    """Embedded images with labels: `rows` (N, E) float32, `labels` (N,) int64."""

    rows: np.ndarray
    labels: np.ndarray


def linear_probe(
    train: Examples,
    test: Examples,
    classes: tuple[str, ...],
    strength: float | None = None,
    seed: int = 0,
) -> tuple[Classification, float]:
    """Fit on `train`, answer `test`.

    Args:
        train: at least two classes.
        test: at least one image.
        classes: C names; labels count them.
        strength: of the data against the penalty; None tries STRENGTHS on a held-back fifth.
        seed: of the choice of that fifth.

    Returns:
        The answers (log-probabilities as logits; classes unseen in training are never answered),
        and the strength.

    Raises:
        DataError: fewer than two classes in training, no images, different dimensions.
        ConfigError: a strength that is not above zero.
    """
    seen = np.unique(train.labels)
    if len(seen) < 2:
        raise DataError(f"training images show {len(seen)} class, expected at least two")
    if not len(test.labels):
        raise DataError("no images to test on: at least one was expected")
    if train.rows.shape[1] != test.rows.shape[1]:
        raise DataError(
            f"training has {train.rows.shape[1]} dimensions, testing {test.rows.shape[1]}: "
            "they come from different models"
        )
    if strength is not None and not strength > 0:
        raise ConfigError(f"strength is {strength}: expected a number above 0")
    strength = strength or _best_strength(train, seed)
    model = _fit(train.rows, train.labels, strength)
    logits = np.full((len(test.labels), len(classes)), -np.inf, np.float32)
    logits[:, seen] = model.predict_log_proba(test.rows)
    return Classification(classes, test.labels, logits), strength


def _best_strength(train: Examples, seed: int) -> float:
    """The strength that does best on a held-back fifth; the weakest of equals."""
    order = np.random.default_rng(seed).permutation(len(train.labels))
    held, kept = np.split(order, [int(HELD_BACK * len(order))])
    if not len(held) or len(np.unique(train.labels[kept])) < 2:
        return 1.0  # too few to try anything
    scores = []
    for strength in STRENGTHS:
        model = _fit(train.rows[kept], train.labels[kept], strength)
        scores.append(model.score(train.rows[held], train.labels[held]))
        logger.info("strength %g: %.2f %% on the held-back fifth", strength, 100 * scores[-1])
    return STRENGTHS[int(np.argmax(scores))]


def _fit(rows, labels, strength):  # type: ignore[no-untyped-def]
    """scikit-learn's logistic regression; its import takes seconds, so it waits until here."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return LogisticRegression(C=strength, max_iter=1000).fit(rows, labels)
        except ConvergenceWarning as error:
            logger.warning("strength %g: not converged after 1000 steps (%s)", strength, error)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=strength, max_iter=1000).fit(rows, labels)
