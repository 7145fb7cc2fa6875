"""What rank 0 shows while it works: a bar on a terminal, lines of a log elsewhere."""

import logging
import math
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tqdm import tqdm

logger = logging.getLogger(__name__)

BETWEEN_LINES = 10.0  # seconds; mpirun's ranks and batch jobs have no terminal to draw a bar on
SHOWN = {
    "pairs_per_second": "pairs/s",
    "loss": "loss",
    "learning_rate": "lr",
    "logit_scale": "scale",
    "data_wait": "data wait",
}


class _Screen:
    """stderr, which may go away with its terminal: the run must outlive that to save."""

    def write(self, text: str) -> None:
        """Write what can be written."""
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """See `write`."""
        with suppress(OSError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


class Progress:
    """Pairs a second, loss, rate, logit scale and the share of time lost to data."""

    def __init__(self, total: int, start: int, watched: bool) -> None:
        """Begin at step `start` of `total`; silent unless `watched`."""
        quiet = None if watched else True  # None: draws on terminals only
        self._bar = tqdm(
            total=total,
            initial=start,
            unit="step",
            disable=quiet,
            file=_Screen(),
            dynamic_ncols=True,
        )
        self._began, self._waited, self._pairs = time.monotonic(), 0.0, 0
        self._watched, self._total, self._done = watched, total, start
        self._next_line = 0.0

    def step(self, pairs: int, waited: float) -> None:
        """Count one step of `pairs` pairs whose data took `waited` seconds to come."""
        self._pairs += pairs
        self._waited += waited
        self._done += 1
        self._bar.update()

    def leave_out(self, seconds: float) -> None:
        """Count this time, of a validation for one, as no part of the steps."""
        self._began += seconds

    def rates(self) -> dict[str, float]:
        """Pairs a second and the share of time spent waiting for data, since the last call."""
        passed = max(time.monotonic() - self._began, 1e-9)
        found = {"pairs_per_second": self._pairs / passed, "data_wait": self._waited / passed}
        self._began, self._waited, self._pairs = time.monotonic(), 0.0, 0
        return found

    def show(self, values: Mapping[str, float]) -> None:
        """Put these numbers behind the bar; or in a line of the log, if none came just now."""
        if not self._bar.disable:
            found = {SHOWN[k]: values[k] for k in SHOWN if math.isfinite(values[k])}
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in found.items()})
        elif self._watched and (time.monotonic() >= self._next_line or self._done == self._total):
            self._next_line = time.monotonic() + BETWEEN_LINES
            told = ", ".join(f"{SHOWN[k]} {values[k]:.4g}" for k in SHOWN)
            logger.info("step %d of %d: %s", self._done, self._total, told)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
