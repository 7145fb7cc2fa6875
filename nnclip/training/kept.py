"""Which weights of a run are validated and saved: the trained ones, their average, or a mixture."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from nnclip.training.config import TrainConfig
from nnclip.training.ema import AveragingOptimiser
from nnclip.training.model import Trainee
from nnclip.training.solvers import Optimiser
from nnclip.weights.average import interpolated


class KeptWeights:
    """Puts the weights that count in the place of those that are trained, for a while."""

    def __init__(self, config: TrainConfig, trainee: Trainee, optimiser: Optimiser) -> None:
        """Keep the start, before a checkpoint replaces it, where --wise-ft will need it."""
        self._trainee, self._optimiser, self._alpha = trainee, optimiser, config.wise_ft
        self._start = self._values() if config.wise_ft < 1 else {}

    def in_place(self) -> AbstractContextManager[None]:
        """Inside, the parameters are those that are validated and saved."""
        found = self._optimiser
        return found.averaged() if isinstance(found, AveragingOptimiser) else nullcontext()

    def save(self, path: Path) -> None:
        """Write the model; with --wise-ft the mean with its start, and beside it as trained."""
        with self.in_place():
            if not self._start:
                self._trainee.save(path)
                return
            self._trainee.save(path.with_name(f"{path.stem}-trained.h5"))
            trained = self._values()
            self._set(interpolated(self._start, trained, self._alpha))
            self._trainee.save(path)
            self._set(trained)

    def _values(self) -> dict[str, np.ndarray]:
        return {name: np.array(v.d) for name, v in self._trainee.variables().items()}

    def _set(self, values: dict[str, np.ndarray]) -> None:
        for name, variable in self._trainee.variables().items():
            variable.d = values[name]
