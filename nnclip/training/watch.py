"""The bar on rank 0's terminal, and the speeds that it measures."""

import math
import sys
import time
from collections.abc import Mapping

from tqdm import tqdm


class Progress:
    """Loss, rate and logit scale behind a bar; pairs a second and the time lost to data."""

    def __init__(self, total: int, start: int, watched: bool) -> None:
        """Begin at step `start` of `total`; silent unless `watched`, or where nobody watches."""
        quiet = None if watched else True
        self._bar = tqdm(
            total=total,
            initial=start,
            unit="step",
            disable=quiet,
            file=sys.stderr,
            dynamic_ncols=True,
        )
        self._began, self._waited, self._pairs = time.monotonic(), 0.0, 0

    def step(self, pairs: int, waited: float) -> None:
        """Count one step of `pairs` pairs whose data took `waited` seconds to come."""
        self._pairs += pairs
        self._waited += waited
        self._bar.update()

    def rates(self) -> dict[str, float]:
        """Pairs a second and the share of time spent waiting for data, since the last call."""
        passed = max(time.monotonic() - self._began, 1e-9)
        found = {"pairs_per_second": self._pairs / passed, "data_wait": self._waited / passed}
        self._began, self._waited, self._pairs = time.monotonic(), 0.0, 0
        return found

    def show(self, values: Mapping[str, float]) -> None:
        """Put these numbers behind the bar."""
        self._bar.set_postfix({k: f"{v:.4g}" for k, v in values.items() if not math.isnan(v)})

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
