"""Few shots: what k images of each class add to their names, without training a tower.

Axes: N images, S shots of all classes, C classes, E embedding.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.evaluate.labelled import LabelledImages
from nnclip.evaluate.linear_probe import Examples, linear_probe
from nnclip.evaluate.metrics import label_ranks, top_k_accuracy
from nnclip.evaluate.report import Record
from nnclip.evaluate.tasks import Subject, check_classes, skipped_of
from nnclip.evaluate.zero_shot import classify
from nnclip.graph.losses import USUAL, Scorer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Methods:
    """How shots are used.

    Attributes:
        alpha: what the cache counts beside the names (Tip-Adapter).
        beta: how much nearer shots count more than farther ones (Tip-Adapter).
        strength: of the data against the penalty (linear probe).
    """

    alpha: float = 1.0
    beta: float = 5.5
    strength: float = 10.0

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "strength"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"--{name}: found {getattr(self, name)}, expected more than 0")


def drawn_shots(labels: np.ndarray, shots: int, classes: int, seed: int) -> np.ndarray:
    """Which images are shown.

    Args:
        labels: (N,) int64 0..C-1.
        shots: images of each class; all of a class that has fewer.
        classes: C.
        seed: the same one gives the same images, and k shots are among those of k + 1.

    Returns: (S,) rows, class after class.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    found = [order[labels[order] == label][:shots] for label in range(classes)]
    return np.concatenate(found)


def tip_adapter(
    images: np.ndarray,
    shots: Examples,
    class_rows: np.ndarray,
    scorer: Scorer = USUAL,
    methods: Methods | None = None,
) -> np.ndarray:
    """Logits of Tip-Adapter: the names', and how near each class's shots are.

    Args:
        images: (N, E) float32, unit rows.
        shots: what is shown.
        class_rows: (C, E) float32, unit rows.
        scorer: turns cosines with names into logits.
        methods: `alpha` and `beta`.

    Returns: (N, C) float32.

    Source: Tip-Adapter, arXiv:2111.03930, equations 4 and 5; its usual alpha and beta.
    """
    methods = methods or Methods()
    near_NS = np.exp(-methods.beta * (1 - images @ shots.rows.T))
    shown_SC = np.eye(len(class_rows), dtype=np.float32)[shots.labels]
    return scorer.logits(images @ class_rows.T) + methods.alpha * (near_NS @ shown_SC)


def few_shot(
    train: Examples,
    test: Examples,
    classes: tuple[str, ...],
    class_rows: np.ndarray,
    shots: tuple[int, ...],
    draws: int = 3,
    scorer: Scorer = USUAL,
    methods: Methods | None = None,
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Accuracies of both methods for each number of shots, and of the names alone.

    Args:
        train: from which shots are drawn.
        test: what is asked.
        classes: C names.
        class_rows: (C, E) float32, unit rows: their embeddings.
        shots: images a class.
        draws: how often they are drawn; accuracies are means.
        scorer: turns cosines into logits.
        methods: how shots are used.

    Returns: metrics; and, by the same names, the accuracy of each draw.

    Raises:
        DataError: nothing to ask, fewer than two classes to learn, or embeddings that do not fit.
        ConfigError: no shots or draws.
    """
    methods = methods or Methods()
    if not shots or min(shots) < 1 or draws < 1:
        raise ConfigError(f"--shots: found {shots} drawn {draws} times, expected 1 or more of each")
    if not len(train.labels):
        raise DataError("no images to show: at least one of each class was expected")
    named = classify(test.rows, test.labels, class_rows, classes, scorer)
    counts = np.bincount(train.labels, minlength=len(classes))
    if counts.min() < max(shots):
        scarce = classes[int(counts.argmin())]
        logger.warning(
            "%r has %d images: with more shots than that, all of them", scarce, counts.min()
        )
    each: dict[str, list[float]] = {}
    for count in sorted(set(shots)):
        for seed in range(draws):
            rows = drawn_shots(train.labels, count, len(classes), seed)
            shown = Examples(train.rows[rows], train.labels[rows])
            probe, _ = linear_probe(shown, test, classes, methods.strength)
            adapted = tip_adapter(test.rows, shown, class_rows, scorer, methods)
            for method, logits in (("linear_probe", probe.logits), ("tip_adapter", adapted)):
                ranks = label_ranks(logits, test.labels)
                each.setdefault(f"{method}_{count}_shots_acc1", []).append(top_k_accuracy(ranks, 1))
    means = {name: float(np.mean(values)) for name, values in each.items()}
    return {"zero_shot_acc1": named.metrics()["acc1"], **means}, each


def measure_few_shot(
    subject: Subject,
    train: LabelledImages,
    test: LabelledImages,
    templates: Sequence[str],
    counts: tuple[int, ...],
    draws: int,
    methods: Methods,
) -> Record:
    """Few shots. The two data sets must have the same classes.

    Raises:
        DataError, ConfigError: see `few_shot`; or the classes differ.
    """
    check_classes(train, test)
    seen, found = subject.images(train.sources), subject.images(test.sources)
    metrics, each = few_shot(
        Examples(seen.rows, train.labels[seen.kept]),
        Examples(found.rows, test.labels[found.kept]),
        test.classes,
        subject.classes(test.classes, templates),
        counts,
        draws,
        subject.scorer,
        methods,
    )
    about = {
        "images": len(found.rows),
        "classes": len(test.classes),
        "skipped": skipped_of(found),
        "not_read": dict(test.not_read),
        "train_images": len(seen.rows),
        "train_skipped": skipped_of(seen),
        "train_not_read": dict(train.not_read),
        "draws": each,
    }
    return subject.record(test.name, "few_shot", metrics, **about)
