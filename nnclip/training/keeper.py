"""Keeps a run in its folder: under its name, with its checkpoints, without other runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.training.changes import check_changes
from nnclip.training.checkpoint import (
    Checkpoint,
    checkpoint_path,
    going_on,
    tidy,
    write_checkpoint,
)
from nnclip.training.config import TrainConfig
from nnclip.training.folder import (
    check_holdings,
    clear,
    files_of,
    hold,
    identity,
    new_identity,
    write_run,
)
from nnclip.training.runstate import find_checkpoint, run_of


class RunKeeper:
    """What rank 0 does with the folder of a run; on other ranks it does nothing.

    Attributes:
        folder: of the run.
    """

    def __init__(self, config: TrainConfig, rank: int) -> None:
        """Take the settings; nothing is written before `working`."""
        self.folder = Path(config.monitor_path)
        self._config, self._first = config, rank == 0
        self._identity = new_identity()

    def found(self, now: Mapping[str, int]) -> Checkpoint | None:
        """What the run goes on from; tells what has changed since.

        Args:
            now: see `check_changes`.

        Raises:
            CheckpointError: there is no such checkpoint, or it is damaged.
            ConfigError: the run cannot go on from it with these settings.
        """
        if not self._first:
            return None
        checkpoint = find_checkpoint(self._config.resume, self.folder)
        if checkpoint is not None:
            run_of(checkpoint.state)
            check_changes(checkpoint.state, self._config, now)
            if files_of(self.folder):  # else it is a branch, a run of its own
                self._identity = checkpoint.state.get("id") or self._identity
        return checkpoint

    @contextmanager
    def working(self, step: int) -> Iterator[None]:
        """Make the folder this run's, which stands at `step`, and keep others out.

        Raises:
            ConfigError: another run is at work there, or has left something.
        """
        if not self._first:
            yield
            return
        with hold(self.folder):
            check_holdings(self._config, self.folder)
            if self._config.overwrite:
                clear(self._config, self.folder, step)
            if files_of(self.folder):
                self._identity = identity(self.folder) or self._identity
            write_run(self.folder, self._identity)
            yield

    def save(self, step: int, arrays: Mapping[str, np.ndarray], state: dict[str, Any]) -> None:
        """Write the checkpoint after `step` steps, and remove those that are too many."""
        if self._first:
            about = {"id": self._identity, "settings": asdict(self._config)}
            write_checkpoint(checkpoint_path(self.folder, step), arrays, about | state)
            tidy(self.folder, self._config.keep_last)

    def going_on(self) -> str:
        """How a run that ended early goes on."""
        return going_on(self.folder)
