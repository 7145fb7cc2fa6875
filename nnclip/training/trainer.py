"""The loop: batch, step, update, and everything that is done every so often."""

import logging
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from tqdm.contrib.logging import logging_redirect_tqdm

from nnclip.engine import AdamW, default_precision, openvino_available
from nnclip.errors import CheckpointError, DataError, NnclipError
from nnclip.graph.loss import MAX_LOGIT_SCALE
from nnclip.text import end_of_text_positions
from nnclip.training.checkpoint import (
    Checkpoint,
    checkpoint_path,
    latest_checkpoint,
    read_checkpoint,
    tidy,
    write_checkpoint,
)
from nnclip.training.communicator import Communicator, check_equal
from nnclip.training.config import TrainConfig
from nnclip.training.data.decode import Recipe
from nnclip.training.data.loader import Loader, RawBatch
from nnclip.training.data.pairs import Draw, PairTable
from nnclip.training.data.readers import read_pairs
from nnclip.training.flags import write_settings
from nnclip.training.model import Trainee, make_trainee
from nnclip.training.schedule import make_schedule
from nnclip.training.step import Batch, ContrastiveStep, StepResult, step_maker
from nnclip.training.watch import Board, JsonLines, NnablaMonitors, Progress
from nnclip.weights.model import save_model

logger = logging.getLogger(__name__)

BUCKET = 16  # tokens; a batch's texts are cut to its longest, rounded up to a multiple


class Trainer:
    """One run on one rank. `run` it once."""

    def __init__(self, config: TrainConfig, communicator: Communicator) -> None:
        """Read the tables, make the model, and go where the last checkpoint says.

        Raises:
            NnclipError: of all kinds, see `model`, `data.readers` and `checkpoint`.
        """
        self.config, self.communicator = config, communicator
        self.folder = Path(config.monitor_path)
        self.trainee = make_trainee(config)
        self.table = _table(config, config.train)
        self.batch = config.batch_size * communicator.size  # of all ranks
        self.total = config.max_iter or max(round(config.epochs * len(self.table) / self.batch), 1)
        self.schedule = make_schedule(config.lr, self.total, config.warmup_iter, config.schedule)
        self.step = make_step(config, self.trainee, communicator)
        self.optimiser = make_optimiser(config, self.trainee)
        self.done, self.position = 0, 0  # steps; draws of the stream
        self.broken: set[str] = set()
        self._stop = False
        self._resume()

    def run(self) -> Path:
        """Train to the end, or to SIGTERM; returns where the model was saved."""
        config, communicator = self.config, self.communicator
        first = communicator.rank == 0
        if first:
            write_settings(self.folder / "settings.yaml", config)
        boards: list[Board] = (
            [JsonLines(self.folder, self.done), NnablaMonitors(self.folder)] if first else []
        )
        check_equal(communicator, self._arrays())
        self._listen()
        progress = Progress(self.total, self.done, first)
        with self._loader() as loader, logging_redirect_tqdm():
            batches = loader.batches(self._spans(loader))
            while self.done < self.total and not self._stop:
                began = time.monotonic()
                raw = next(batches)
                waited = time.monotonic() - began
                result, values = self._one_step(raw)
                progress.step(self.batch, waited)
                if self.done % config.log_interval == 0 or self.done == self.total:
                    values |= progress.rates() | accuracies(result)
                    progress.show({k: values[k] for k in ("loss", "learning_rate", "logit_scale")})
                    for board in boards:
                        board.add(self.done, values)
                if self.done % config.check_interval == 0:
                    check_equal(communicator, self._arrays())
                if self.done % config.model_save_interval == 0 or self._stop:
                    self.save()
        progress.close()
        for board in boards:
            board.close()
        return self._finish()

    def _one_step(self, raw: RawBatch) -> tuple[StepResult, dict[str, float]]:
        """Batch in, parameters moved."""
        result = self.step(Batch(raw.images, self._tokens(raw.captions)))
        rate = self.schedule(self.done)
        norm = self.optimiser.gradient_norm()
        if not np.isfinite(norm) or not np.isfinite(result.loss):
            raise NnclipError(
                f"step {self.done}: found loss {result.loss} and gradient norm {norm}, expected "
                "numbers; try a lower --lr, a longer --warmup-iter or --clip-norm 1"
            )
        limit = self.config.clip_norm
        self.optimiser.update(rate, scale=limit / norm if 0 < limit < norm else 1.0)
        scale = self.trainee.weights.variables()["logit_scale"]
        scale.data.data[...] = np.minimum(scale.data.data, np.float32(MAX_LOGIT_SCALE))
        self.done += 1
        self.position += self.batch
        self._agree(raw.broken)
        values = {
            "loss": result.loss,
            "learning_rate": rate,
            "logit_scale": float(np.exp(scale.d)),
            "gradient_norm": norm,
            "epoch": self.position / len(self.table),
        }
        return result, values

    def _tokens(self, captions: list[str]) -> np.ndarray:
        """Ids of captions, without the columns that no caption of the batch reaches."""
        context = self.config.context_length or self.trainee.weights.config.text.context
        ids_NL = self.trainee.tokenizer(captions, context, truncate=True)
        longest = int(end_of_text_positions(ids_NL).max()) + 1
        return np.ascontiguousarray(ids_NL[:, : min(-(-longest // BUCKET) * BUCKET, context)])

    def _agree(self, broken: dict[str, str]) -> None:
        """Tell all ranks what happened on any: a wish to stop, broken pictures."""
        heard = np.array([self._stop, len(broken)], np.float64)
        self.communicator.sum_array(heard)
        self._stop = bool(heard[0])
        if heard[1]:
            for one in self.communicator.gather(broken):
                for name in one.keys() - self.broken:
                    logger.warning("skipped: %s", one[name])
                self.broken |= one.keys()
        if len(self.broken) + self.table.dropped > self.config.max_bad:
            raise DataError(
                f"found {len(self.broken)} broken pictures and {self.table.dropped} empty "
                f"captions, more than --max-bad {self.config.max_bad}; look at the first: "
                f"{min(self.broken, default='')}"
            )

    def _spans(self, loader: Loader) -> Iterator[list[Draw]]:
        """This rank's part of every batch that is left."""
        own = self.config.batch_size
        for number in range(self.total - self.done):
            start = self.position + number * self.batch + self.communicator.rank * own
            yield loader.stream.draws(start, own)

    def _loader(self) -> Loader:
        config, image = self.config, self.trainee.weights.config.image
        recipe = Recipe(image.resolution, image.mean, image.std, config.crop_scale)
        workers = config.workers
        if workers < 0:
            workers = max(1, (os.cpu_count() or 1) // self.communicator.local_size)
        return Loader(self.table, recipe, config.batch_size, config.seed, workers)

    def _listen(self) -> None:
        """Let SIGTERM (and SIGUSR1, which mpirun passes on) end the run after a last save."""

        def stop(number: int, _: FrameType | None) -> None:
            logger.warning("%s: saving, then ending", signal.Signals(number).name)
            self._stop = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGUSR1, stop)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: v.data.data for name, v in self.trainee.weights.variables().items()}

    def save(self) -> None:
        """Write a checkpoint on rank 0."""
        states = self.communicator.gather(random_state())
        if self.communicator.rank != 0:
            return
        arrays = {f"parameters/{name}": array for name, array in self._arrays().items()}
        arrays |= {f"optimiser/{name}": a for name, a in self.optimiser.state().items()}
        state = {
            "step": self.done,
            "position": self.position,
            "broken": sorted(self.broken),
            "random": states,
            "pairs": len(self.table),
            "settings": asdict(self.config),
        }
        write_checkpoint(checkpoint_path(self.folder, self.done), arrays, state)
        tidy(self.folder, self.config.keep_last)

    def _resume(self) -> None:
        """Go where a checkpoint says, if one is asked for and there."""
        wanted = self.config.resume
        if not wanted:
            return
        if wanted != "latest":
            self._restore(read_checkpoint(Path(wanted)))
            return
        found = latest_checkpoint(self.folder)
        if found is None:
            logger.warning("--resume latest: found no checkpoint in %s, beginning", self.folder)
        else:
            self._restore(found[1])

    def _restore(self, checkpoint: Checkpoint) -> None:
        found, expected = checkpoint.group("parameters"), self._arrays()
        if {k: v.shape for k, v in found.items()} != {k: v.shape for k, v in expected.items()}:
            raise CheckpointError(
                "--resume: the checkpoint holds another model than these settings describe; use "
                "the settings.yaml beside it (--config)"
            )
        for name, array in expected.items():
            array[...] = found[name]
        self.optimiser.load_state(checkpoint.group("optimiser"))
        state = checkpoint.state
        if state["pairs"] != len(self.table):
            logger.warning(
                "--resume: the checkpoint was made with %d pairs, the table holds %d: its order "
                "is another one",
                state["pairs"],
                len(self.table),
            )
        self.done, self.position = state["step"], state["position"]
        self.broken = set(state["broken"])
        if len(state["random"]) == self.communicator.size:
            restore_random_state(state["random"][self.communicator.rank])

    def _finish(self) -> Path:
        """Save the model; a run that was stopped is left to be resumed."""
        path = Path(self.config.model_save_path or self.folder / "model.h5")
        if self.communicator.rank == 0 and self.done == self.total:
            save_model(path, self.trainee.weights)
            logger.info("saved %s", path)
        return path


def _table(config: TrainConfig, source: str) -> PairTable:
    return read_pairs(
        source,
        config.image_root or None,
        config.csv_img_key,
        config.csv_caption_key,
        config.every_caption,
    )


def make_step(config: TrainConfig, trainee: Trainee, communicator: Communicator) -> ContrastiveStep:
    """The step that the settings ask for."""
    compiled = config.engine == "compiled" or (
        config.engine == "auto" and config.context in ("", "cpu") and openvino_available()
    )
    precision = default_precision() if config.type_config == "half" else "fp32"
    make = step_maker(compiled, precision, threads_of(communicator))
    weights = trainee.weights
    return ContrastiveStep(
        weights.config,
        weights.scope,
        communicator,
        make,
        aggregate=config.aggregate,
        micro_batch=config.micro_batch_size,
    )


def threads_of(communicator: Communicator) -> int:
    """The cores that belong to each rank of a host."""
    return max(1, len(os.sched_getaffinity(0)) // communicator.local_size)


def make_optimiser(config: TrainConfig, trainee: Trainee) -> AdamW:
    """The optimiser that the settings ask for."""
    return AdamW(
        trainee.weights.variables(),
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        weight_decay=config.decay,
    )


def accuracies(result: StepResult) -> dict[str, float]:
    """How often a picture of this rank's batch finds its text first, and a text its picture."""
    image, text = (
        side / np.linalg.norm(side, axis=1, keepdims=True) for side in (result.image, result.text)
    )
    similarity = image @ text.T
    rows = np.arange(len(image))
    return {
        "image_accuracy": float((similarity.argmax(1) == rows).mean()),
        "text_accuracy": float((similarity.argmax(0) == rows).mean()),
    }


def random_state() -> Any:
    """NumPy's global random state as JSON; nnclip's own draws need none."""
    state = np.random.get_state(legacy=False)
    return {**state, "state": {k: np.asarray(v).tolist() for k, v in state["state"].items()}}


def restore_random_state(state: Any) -> None:
    """The inverse of `random_state`."""
    key = np.array(state["state"]["key"], np.uint32)
    np.random.set_state({**state, "state": {**state["state"], "key": key}})
