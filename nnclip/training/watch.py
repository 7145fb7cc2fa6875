"""What a run shows while it goes: a progress bar, a log, NNabla's monitors, and other boards."""

import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from nnabla.monitor import Monitor, MonitorSeries
from tqdm import tqdm

logger = logging.getLogger(__name__)

LOG = "log.jsonl"


class Board(Protocol):
    """Where numbers go. They are Python floats: an NNabla `.d` would change after it was given."""

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values after `step` steps."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class JsonLines:
    """One JSON object a line, in `log.jsonl`; a resumed run drops the lines it will write again."""

    def __init__(self, folder: Path, start: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_log(folder) if line["step"] <= start] if start else []
        self._path = folder / LOG
        self._path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """See `Board`."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def close(self) -> None:
        """See `Board`."""


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; a last line that a crash cut short is left out."""
    path = folder / LOG
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            logger.warning("%s: left out the damaged line %.40r", path, line)
    return found


class NnablaMonitors:
    """NNabla's own monitor files, `NAME.series.txt` with a step and a value a line."""

    def __init__(self, folder: Path) -> None:
        """Begin anew with what `folder`'s log says already: NNabla's class cannot append."""
        self._monitor = Monitor(str(folder))
        self._series: dict[str, MonitorSeries] = {}
        for line in read_log(folder):
            self.add(line.pop("step"), line)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """See `Board`."""
        for name, value in values.items():
            if name not in self._series:
                title = name.replace("_", " ").capitalize()
                self._series[name] = MonitorSeries(title, self._monitor, 1, verbose=False)
            self._series[name].add(step - 1, float(value))

    def close(self) -> None:
        """See `Board`."""


class Progress:
    """The bar on rank 0's terminal: loss, rate, logit scale, pairs a second, time lost to data."""

    def __init__(self, total: int, start: int, watched: bool) -> None:
        self._bar = tqdm(
            total=total, initial=start, unit="step", disable=not watched or None, file=sys.stderr
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
