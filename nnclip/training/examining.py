"""What a run is measured by while it trains: its validation set, and data sets of `--eval`."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from nnclip.graph.losses import Scorer
from nnclip.training.boards import Board
from nnclip.training.communicator import Communicator
from nnclip.training.config import TrainConfig
from nnclip.training.curves import JUDGED
from nnclip.training.encoder import Encoder
from nnclip.training.feed import AnyFeed
from nnclip.training.kept import KeptWeights
from nnclip.training.model import Trainee
from nnclip.training.runstate import RunState
from nnclip.training.step import ContrastiveStep
from nnclip.training.validation import Embeddings, embed_table

logger = logging.getLogger(__name__)


class Judge(Protocol):
    """A data set and what is measured on it."""

    def __call__(
        self, encoder: Encoder, scorer: Scorer, communicator: Communicator
    ) -> dict[str, float]:
        """Name -> value, the same on every rank; all ranks call it together."""
        ...


class Examiner:
    """Validates and judges a run every so many steps, by the weights that would be saved."""

    def __init__(
        self,
        config: TrainConfig,
        communicator: Communicator,
        step: ContrastiveStep,
        trainee: Trainee,
        weights: KeptWeights,
    ) -> None:
        """Take what is examined; see `Trainer`."""
        self._config, self._communicator, self._step = config, communicator, step
        self._trainee, self._weights = trainee, weights

    def examine(
        self,
        state: RunState,
        last: bool,
        feed: AnyFeed | None,
        judged: Callable[[Embeddings], dict[str, float]],
        judges: Sequence[Judge],
        boards: Sequence[Board],
    ) -> None:
        """Do what is due after this step.

        Args:
            state: where the run stands; its best loss is renewed.
            last: whether this was the last step.
            feed: the validation set, if there is one.
            judged: embeddings of it -> its numbers, `validation_loss` among them.
            judges: the data sets of `--eval`.
            boards: get the numbers.
        """
        epoch = max(state.pairs // state.batch, 1)
        every = self._config.val_interval or epoch
        validates = feed is not None and (last or state.step % every == 0)
        evaluates = judges and (last or state.step % (self._config.eval_interval or every) == 0)
        if not (validates or evaluates):
            return
        values: dict[str, float] = {}
        with self._weights.in_place():
            if validates and feed is not None:
                values |= judged(embed_table(self._step, feed, self._communicator))
                self._keep_best(state, values["validation_loss"])
            if evaluates:
                encoder = Encoder(self._config, self._step, self._trainee)
                for judge in judges:
                    values |= judge(encoder, self._trainee.scorer(), self._communicator)
        told = {
            k: v for k, v in values.items() if k.startswith("validation_") or k.endswith(JUDGED)
        }
        logger.info("step %d: %s", state.step, _shown(told))
        for board in boards:
            board.add(state.step, values)

    def _keep_best(self, state: RunState, loss: float) -> None:
        if loss < state.best:
            state.best = loss
            if self._communicator.rank == 0:
                self._trainee.save_best(Path(self._config.monitor_path))


def _shown(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in values.items())
