"""The loop: batch, step, update, and everything that is done every so often."""

import logging
import time
from contextlib import closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.contrib.logging import logging_redirect_tqdm

from nnclip.embeddings import unit
from nnclip.engine.memory import float_memory
from nnclip.errors import NnclipError
from nnclip.graph.similarity import MAX_LOGIT_SCALE
from nnclip.training.agreement import agree, check_bad
from nnclip.training.boards import Board, open_boards, read_log
from nnclip.training.communicator import Communicator, check_equal
from nnclip.training.config import TrainConfig
from nnclip.training.curves import draw_curves
from nnclip.training.ema import averaging
from nnclip.training.examining import Examiner
from nnclip.training.feed import AnyFeed, FedBatch, Feed
from nnclip.training.flags import write_settings
from nnclip.training.keeper import RunKeeper
from nnclip.training.kept import KeptWeights
from nnclip.training.machine import choose_engine
from nnclip.training.making import Company, feed_of, step_of
from nnclip.training.model import Trainee, make_trainee
from nnclip.training.preflight import check_data, check_disk, naming
from nnclip.training.rates import rate_factors, told_rates
from nnclip.training.resolved import (
    of_data,
    of_machine,
    of_model,
    of_schedule,
    told,
    write_resolved,
)
from nnclip.training.runstate import (
    RunState,
    arrays_of,
    random_state,
    resume,
    run_of,
)
from nnclip.training.schedule import make_schedule
from nnclip.training.solvers import LossScale, make_optimiser
from nnclip.training.step import ContrastiveStep, StepResult
from nnclip.training.stopping import StopSignals
from nnclip.training.validation import Embeddings, accuracies, validate
from nnclip.training.watch import Progress

logger = logging.getLogger(__name__)

ALONE = Company()


class Trainer:
    """One run on one rank. `run` it once.

    Attributes:
        step: runs forward and backward passes.
        feed: makes batches.
        state: where the run stands.
        total: steps of the whole run.
    """

    def __init__(
        self,
        config: TrainConfig,
        communicator: Communicator,
        context: str,
        company: Company = ALONE,
    ) -> None:
        """Read the tables, make the model, and go where a checkpoint says.

        Args:
            config: the settings.
            communicator: the ranks.
            context: `cpu` or `cudnn`.
            company: what the run is given beside them.

        Raises:
            NnclipError: of all kinds, see `model`, `data.readers` and `checkpoint`.
        """
        self.config, self.communicator, self._context = config, communicator, context
        self._company = company
        self._engine = choose_engine(config, context, communicator)
        self._keeper = RunKeeper(config, communicator.rank)
        self.folder = self._keeper.folder
        self.trainee = self._make_trainee()
        with naming("--train-txt-path"):
            self.feed = self._make_feed(config.train, training=True)
        with naming("--val-txt-path"):
            self._validation = self._make_feed(config.val, training=False) if config.val else None
        if communicator.rank == 0:
            self._check_data()
        self.step = self._make_step()
        self._variables = self.trainee.variables()
        self._factors = rate_factors(config, self.trainee.weights.config, self._variables)
        on_cpu, threads = context == "cpu", self._engine.threads
        plain = make_optimiser(config, self._variables, on_cpu, threads, self._factors)
        self._optimiser = averaging(plain, self._variables, config.ema)
        self._weights = KeptWeights(config, self.trainee, self._optimiser)
        self._examiner = Examiner(config, communicator, self.step, self.trainee, self._weights)
        half_on_gpu = config.type_config == "half" and context != "cpu"
        self._scale = LossScale() if half_on_gpu else LossScale(1.0, patience=0)
        batch, pairs = config.batch_size * communicator.size, len(self.feed.table)
        self.total = config.max_iter or max(round(config.epochs * pairs / batch), 1)
        self._schedule = make_schedule(config.lr, self.total, config.warmup_iter, config.schedule)
        self.state = RunState(batch=batch, pairs=pairs)
        self._asked_to_stop = self._stop = False
        self._signals = StopSignals(self.folder)
        self._go_on()
        if communicator.rank == 0:
            check_disk(config, self.checkpoint_size(), self.trainee.size())

    def run(self) -> Path | None:
        """Train to the end and return where the model is; None where a signal came before."""
        kept = closing(self._validation) if self._validation else nullcontext()
        with self._keeper.working(self.state.step), self._signals, kept:
            return self._run()

    def _run(self) -> Path | None:
        boards = self._open_boards()
        self._check_ranks()
        progress = Progress(self.total, self.state.step, self.communicator.rank == 0)
        left = self.total - self.state.step
        with (
            logging_redirect_tqdm(),
            self.feed.training(self.communicator, self.state.position, left) as batches,
        ):
            while self.state.step < self.total and not self._stop:
                began = time.monotonic()
                fed = next(batches)
                waited = time.monotonic() - began
                result, values = self.one_step(fed)
                progress.step(self.state.batch, waited)
                self._report(boards, progress, result, values)
                stepped = time.monotonic()
                self._keep(boards)
                progress.leave_out(time.monotonic() - stepped)
        progress.close()
        return self._finish(boards)

    def one_step(self, fed: FedBatch) -> tuple[StepResult, dict[str, float]]:
        """Forward, backward, update."""
        state, config = self.state, self.config
        factor, rate = self._scale.value, self._schedule(self.state.step)
        result = self.step(fed.batch, factor)
        norm = self._optimiser.gradient_norm() / factor
        if self._scale.fits(norm):
            limit = config.clip_norm
            clip = limit / norm if 0 < limit < norm else 1.0
            self._optimiser.update(rate, scale=clip / factor)
        self._check_numbers(result.loss, norm)
        logit_scale = float_memory(self._variables["logit_scale"].data)
        np.minimum(logit_scale, np.float32(MAX_LOGIT_SCALE), out=logit_scale)
        state.step += 1
        state.position += state.batch
        state.loss_scale = (self._scale.value, self._scale.good)
        self._agree(fed.broken)
        values = {
            "loss": result.loss,
            "learning_rate": rate,
            "logit_scale": float(np.exp(logit_scale)),
            "gradient_norm": norm,
            "epoch": state.position / state.pairs,
        }
        return result, values

    def _check_numbers(self, loss: float, norm: float) -> None:
        if not np.isfinite(loss) or self._scale.lost:
            raise NnclipError(
                f"step {self.state.step}: found loss {loss} and gradient norm {norm}, expected "
                "numbers; a lower --lr, a longer --warmup-iter or --clip-norm 1 help; "
                f"{self._keeper.going_on()}"
            )

    def _agree(self, broken: dict[str, str]) -> None:
        """Tell all ranks what happened on any: a wish to stop, broken images."""
        wish = self._asked_to_stop or self._signals.asked
        self._stop = agree(self.communicator, self.state, wish, broken)
        check_bad(self.state, self.feed.table.dropped, self.config.max_bad)

    def _report(
        self, boards: list[Board], progress: Progress, result: StepResult, values: dict[str, float]
    ) -> None:
        if self.state.step % self.config.log_interval and self.state.step != self.total:
            return
        values |= progress.rates()
        values |= accuracies(Embeddings(unit(result.image), unit(result.text)))
        progress.show(values)
        for board in boards:
            board.add(self.state.step, values)

    def _keep(self, boards: list[Board]) -> None:
        """What is done every so many steps: comparing ranks, validating, saving."""
        config, step = self.config, self.state.step
        if step % config.check_interval == 0:
            self._check_ranks()
        self._examiner.examine(
            self.state,
            step == self.total,
            self._validation,
            self._judged,
            self._company.judges,
            boards,
        )
        if step % config.model_save_interval == 0 or self._stop or step == self.total:
            self._save()

    def _judged(self, found: Embeddings) -> dict[str, float]:
        return validate(found, self.state.batch, self.trainee.scorer())

    def _save(self) -> None:
        """Write a checkpoint on rank 0."""
        randoms = self.communicator.gather(random_state())
        state = {"run": asdict(self.state), "random": randoms, **self._whole_run()}
        arrays = arrays_of(self._variables, self._optimiser)
        self._keeper.save(self.state.step, arrays, state)

    def checkpoint_size(self) -> int:
        """Bytes of a checkpoint."""
        return sum(a.nbytes for a in arrays_of(self._variables, self._optimiser).values())

    def _whole_run(self) -> dict[str, int]:
        """What a resumed run should have in common with this one, beside the settings."""
        table = self.feed.table.fingerprint()
        return {"total": self.total, "pairs": table, "batch": self.state.batch}

    def _go_on(self) -> None:
        """From where a checkpoint says, if the settings ask for one."""
        checkpoint = self._keeper.found(self._whole_run()) if self.config.resume else None
        state = resume(checkpoint, self._variables, self._optimiser, self.communicator)
        if state is not None:
            self.state = run_of(state).advanced(self.state.batch, self.state.pairs)
            self._scale.value, self._scale.good = self.state.loss_scale

    def _finish(self, boards: list[Board]) -> Path | None:
        for board in boards:
            board.close()
        finished = self.state.step >= self.total
        path = Path(self.config.model_save_path or self.folder / "model.h5")
        if self.communicator.rank == 0:
            draw_curves(read_log(self.folder), self.folder / "curves.png")
            if finished:
                self._weights.save(path)
        return path if finished else None

    def _check_data(self) -> None:
        """Look at the pairs before they are needed."""
        validation = self._validation.table if self._validation else None
        check_data(self.config, self.communicator, self.feed.table, validation)

    def _check_ranks(self) -> None:
        arrays = {name: v.d for name, v in self._variables.items()}
        check_equal(self.communicator, arrays, self._keeper.going_on())

    def _open_boards(self) -> list[Board]:
        if self.communicator.rank != 0:
            return []
        resolved = self.resolved()
        logger.info("%s", told(resolved))
        if self.config.preview and isinstance(self.feed, Feed):
            self.feed.preview(Path(self.config.preview), self.communicator, self.state.position)
        write_settings(self.folder / "settings.yaml", self.config)
        write_resolved(self.folder / "resolved.yaml", resolved)
        settings = asdict(self.config) | {"resolved": resolved}
        return open_boards(self.config, self.folder, self.state.step, settings)

    def resolved(self) -> dict[str, Any]:
        """What the settings came to, see `resolved.yaml`."""
        config, ranks, state = self.config, self.communicator, self.state
        return (
            of_machine(self._context, self._engine, ranks)
            | of_data(config, ranks, self.feed, self._validation)
            | of_model(self.trainee, self.feed)
            | of_schedule(config, self._schedule, state.pairs, state.batch)
            | {"learning_rates": told_rates(config, self._factors)}
        )

    def _make_trainee(self) -> Trainee:
        return make_trainee(self.config)

    def _make_feed(self, source: str, training: bool) -> AnyFeed:
        return feed_of(self.config, self.trainee, source, training, self._company)

    def _make_step(self) -> ContrastiveStep:
        assert isinstance(self.feed, Feed)
        maker = self._engine.step_maker()
        return step_of(self.config, self.trainee, self.communicator, maker, self.feed)
