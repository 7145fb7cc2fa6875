"""Where a run's numbers go: a log of JSON lines, NNabla's monitors, TensorBoard, W&B."""

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from nnclip.errors import ConfigError
from nnclip.extras import how
from nnclip.training.config import TrainConfig

logger = logging.getLogger(__name__)

LOG = "log.jsonl"


class Board(Protocol):
    """Takes numbers. They are Python floats: an NNabla `.d` would change after it was given."""

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values after `step` steps."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class JsonLines:
    """One JSON object a line, in `log.jsonl`."""

    def __init__(self, folder: Path, start: int) -> None:
        """Begin, or go on after step `start`: later lines will be written again."""
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
    """The lines of a run's log; one that a crash cut short is left out."""
    path = folder / LOG
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            logger.warning("%s: left out the damaged line %.40r", path, line)
    return found


class NnablaMonitors:
    """NNabla's own monitor files, `NAME.series.txt` with a step and a value a line."""

    def __init__(self, folder: Path) -> None:
        """Begin with what `folder`'s log says already: NNabla's class cannot append."""
        from nnabla.monitor import Monitor

        self._monitor = Monitor(str(folder))
        self._series: dict[str, Any] = {}
        for line in read_log(folder):
            self.add(line.pop("step"), line)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """See `Board`."""
        from nnabla.monitor import MonitorSeries

        for name, value in values.items():
            if name not in self._series:
                title = name.replace("_", " ").capitalize()
                self._series[name] = MonitorSeries(title, self._monitor, 1, verbose=False)
            self._series[name].add(step, float(value))

    def close(self) -> None:
        """See `Board`."""


class TensorBoard:
    """TensorBoard's event files, written without TensorFlow or torch."""

    def __init__(self, folder: Path, start: int) -> None:
        """Open a file; what an earlier run wrote after step `start` is no longer shown."""
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._events, self._summaries = event_pb2, summary_pb2
        self._writer = EventFileWriter(str(folder))
        log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=start, session_log=log))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """See `Board`."""
        one = self._summaries.Summary.Value
        summary = self._summaries.Summary(
            value=[one(tag=name, simple_value=value) for name, value in values.items()]
        )
        event = self._events.Event(wall_time=time.time(), step=step, summary=summary)
        self._writer.add_event(event)

    def close(self) -> None:
        """See `Board`."""
        self._writer.close()


class WeightsAndBiases:
    """A run on W&B; offline where WANDB_MODE says so."""

    def __init__(self, project: str, folder: Path, start: int, settings: dict[str, Any]) -> None:
        """Begin a run, or go on with the one of `folder` after step `start`."""
        try:
            import wandb
        except ImportError as error:
            raise ConfigError(f"--wandb: {error}; {how('wandb')}") from error
        kept = folder / "wandb-id"
        if not (start and kept.exists()):
            kept.write_text(wandb.util.generate_id(), encoding="utf-8")
        self._run = wandb.init(
            project=project,
            dir=str(folder),
            config=settings,
            id=kept.read_text(encoding="utf-8"),
            resume=None if wandb.setup().settings.mode == "offline" else "allow",
        )

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """See `Board`."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """See `Board`."""
        self._run.finish()


def open_boards(
    config: TrainConfig, folder: Path, start: int, settings: dict[str, Any]
) -> list[Board]:
    """The boards that the settings ask for, going on after step `start`."""
    boards: list[Board] = [JsonLines(folder, start), NnablaMonitors(folder)]
    if config.tensorboard:
        boards.append(TensorBoard(folder, start))
    if config.wandb:
        boards.append(WeightsAndBiases(config.wandb, folder, start, settings))
    return boards
