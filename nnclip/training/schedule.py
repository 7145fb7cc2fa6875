"""The learning rate over the steps: a linear warm-up, then half a cosine or a constant."""

import logging
import math
from dataclasses import dataclass

from nnclip.errors import ConfigError

logger = logging.getLogger(__name__)

SHAPES = ("cosine", "constant")


@dataclass(frozen=True)
class Schedule:
    """The learning rate of every step.

    Attributes:
        peak: what the warm-up ends at.
        steps: of the whole run.
        warmup: steps of the warm-up, fewer than `steps`.
        shape: what follows the warm-up; one of `SHAPES`.
    """

    peak: float
    steps: int
    warmup: int
    shape: str = "cosine"

    def __call__(self, step: int) -> float:
        """The rate of step 0, 1, ...; past the end of a cosine it stays 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.shape == "constant":
            return self.peak
        done = min((step - self.warmup) / max(self.steps - self.warmup, 1), 1.0)
        return self.peak * 0.5 * (1.0 + math.cos(math.pi * done))


def make_schedule(peak: float, steps: int, warmup: float, shape: str = "cosine") -> Schedule:
    """A schedule whose warm-up fits the run.

    Args:
        peak: the largest rate.
        steps: of the whole run, at least 1.
        warmup: number of steps, or below 1 the fraction of the run. One that is not shorter than
            the run is cut to a tenth of it, with a warning: the rate would never reach its peak.
        shape: one of `SHAPES`.

    Raises:
        ConfigError: a negative number, or an unknown shape.
    """
    if warmup < 0 or peak < 0 or steps < 1:
        raise ConfigError(
            f"schedule: found rate {peak}, {steps} steps, warm-up {warmup}; expected no negative "
            "number and at least one step"
        )
    if shape not in SHAPES:
        raise ConfigError(f"schedule: found {shape!r}, expected one of {', '.join(SHAPES)}")
    length = round(warmup * steps) if warmup < 1 else int(warmup)
    if length >= steps and length > 0:
        shorter = steps // 10
        logger.warning(
            "the warm-up of %d steps is not shorter than the run of %d: using %d (--warmup-iter)",
            length,
            steps,
            shorter,
        )
        length = shorter
    return Schedule(peak, steps, length, shape)
