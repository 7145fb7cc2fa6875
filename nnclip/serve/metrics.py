"""What the server counts, for Prometheus; with several workers, the sum over all of them."""

import os
from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64)
SHARED = "PROMETHEUS_MULTIPROC_DIR"  # a folder in which workers count together


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "nnclip_requests", "Answers by route and status.", ["route", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._rows = Histogram(
            "nnclip_batch_rows", "Images or texts that a model computed in one call.", ["kind"],
            buckets=ROWS, registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "nnclip_stage_seconds",
            "Seconds of a piece of work: decode (images), image and text (a call of a model), "
            "wait (from a request's place in the queue to its values), answer (a whole request).",
            ["stage"], buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        self._truncated = Counter(
            "nnclip_truncated_texts", "Texts that were cut to what the model reads.",
            registry=self._registry,
        )  # fmt: skip
        self._waiting = Gauge(
            "nnclip_waiting_inputs", "Images and texts that wait for their turn.",
            registry=self._registry, multiprocess_mode="livesum",
        )  # fmt: skip

    def observe(self, stage: str, rows: int, seconds: float) -> None:
        """Count a piece of work; see `nnclip.service.batching.Observe`."""
        self._seconds.labels(stage).observe(seconds)
        if stage in ("image", "text"):
            self._rows.labels(stage).observe(rows)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels("answer").observe(seconds)

    def truncated(self, count: int) -> None:
        """Count texts that were cut."""
        self._truncated.inc(count)

    def exposition(self, waiting: Callable[[], int]) -> tuple[bytes, str]:
        """All of it as text, and that text's content type."""
        self._waiting.set(waiting())
        registry = self._registry
        if SHARED in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST
