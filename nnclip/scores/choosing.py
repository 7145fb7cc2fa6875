"""Which scored pairs are kept: from a score on, or the best of them; without what is flagged.

Axes: P pairs.
"""

from dataclasses import dataclass

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.scores.table import Scores

FLAGS = ("near", "text-only")


@dataclass(frozen=True)
class Rule:
    """What is kept.

    Attributes:
        by: one of `table.MEASURES`.
        least: the lowest score that is kept; None for none.
        top: how many are kept, a share of all up to 1, or a number from then on; None for all.
        drop: some of FLAGS; pairs that have one are left out first.
    """

    by: str = "cosine"
    least: float | None = None
    top: float | None = None
    drop: tuple[str, ...] = ()


def top_of(text: str) -> float:
    """What `--top` means: "30%" is 0.3, "1000" is 1000; ConfigError if it is neither."""
    share = text.strip().endswith("%")
    try:
        value = float(text.strip().rstrip("%")) / (100 if share else 1)
    except ValueError:
        value = float("nan")
    if share and 0 < value <= 1:
        return value
    if not share and value > 1 and value == int(value):
        return value
    raise ConfigError(
        f"--top: found {text!r}, expected a share such as 30%, up to 100%, or a number of pairs "
        "above 1"
    )


def chosen(scores: Scores, rule: Rule) -> tuple[np.ndarray, float]:
    """Which pairs are kept, (P,) bool, and the lowest score among them.

    Raises:
        DataError: nothing is kept.
        ConfigError: the model does not give the measure.
    """
    values = scores.measure(rule.by)
    kept = ~np.isnan(values)
    if "near" in rule.drop:
        kept &= np.array([not name for name in scores.near])
    if "text-only" in rule.drop:
        kept &= ~np.array(scores.text_only, bool)
    if rule.least is not None:
        kept &= np.nan_to_num(values, nan=-np.inf) >= rule.least
    if rule.top is not None:
        some = round(rule.top * len(values)) if rule.top <= 1 else int(rule.top)
        order = np.flatnonzero(kept)[np.argsort(-values[kept], kind="stable")]
        kept[order[some:]] = False
    if not kept.any():
        best = float(np.nanmax(values)) if len(values) else float("nan")
        raise DataError(
            f"found no pair to keep among {len(values):,}, the highest {rule.by} is {best:.3f}; "
            "ask for less"
        )
    return kept, float(values[kept].min())
