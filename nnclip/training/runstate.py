"""What a run knows beside its parameters, and how it gets into a checkpoint and back."""

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.engine.memory import float_memory
from nnclip.errors import CheckpointError
from nnclip.json_text import brief
from nnclip.nnabla import nn
from nnclip.training.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    read_checkpoint,
)
from nnclip.training.communicator import Communicator
from nnclip.training.solvers import Optimiser

logger = logging.getLogger(__name__)


@dataclass
class RunState:
    """Where a run stands.

    Attributes:
        step: steps done.
        position: draws taken from the stream of pairs.
        batch: pairs of a global batch.
        pairs: rows of the table.
        best: lowest validation loss so far.
        loss_scale: of half precision, and steps since it last changed.
        broken: names of the images that were skipped.
    """

    step: int = 0
    position: int = 0
    batch: int = 0
    pairs: int = 0
    best: float = float("inf")
    loss_scale: tuple[float, int] = (1.0, 0)
    broken: list[str] = field(default_factory=list)

    def advanced(self, batch: int, pairs: int) -> "RunState":
        """This state for a run with another batch or table: what is done stays done."""
        if pairs != self.pairs:
            logger.warning(
                "--resume: the checkpoint was made with %d pairs, the table holds %d: from here on "
                "their order is another one",
                self.pairs,
                pairs,
            )
        step = self.step
        if batch != self.batch:
            step = round(self.step * self.batch / batch)
            logger.warning(
                "--resume: the checkpoint was made with batches of %d pairs, now %d: its step %d "
                "counts as %d",
                self.batch,
                batch,
                self.step,
                step,
            )
        return RunState(
            **{**asdict(self), "step": step, "batch": batch, "pairs": pairs}  # type: ignore[arg-type]
        )


def arrays_of(variables: dict[str, nn.Variable], optimiser: Optimiser) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint."""
    arrays = {f"parameters/{name}": v.d for name, v in variables.items()}
    return arrays | {f"optimiser/{name}": a for name, a in optimiser.state().items()}


def resume(
    checkpoint: Checkpoint | None,
    variables: dict[str, nn.Variable],
    optimiser: Optimiser,
    communicator: Communicator,
) -> dict[str, Any] | None:
    """Go where a checkpoint says; its state on every rank, None if there is none to go on from.

    Only rank 0 reads it, and tells the others: they may be on hosts that see other disks.

    Args:
        checkpoint: on rank 0, what to go on from; None elsewhere.
        variables: parameters by name; get the checkpoint's values.
        optimiser: gets its state.
        communicator: the ranks; NumPy's random state is restored where there are as many.

    Raises:
        CheckpointError: the checkpoint is of another model.
    """
    if checkpoint is not None:
        run_of(checkpoint.state)  # before anything is changed
        restore(checkpoint, variables, optimiser)
    state = communicator.gather(checkpoint and checkpoint.state)[0]
    if state is None:
        return None
    for variable in variables.values():
        communicator.broadcast(float_memory(variable.data))
    arrays = {name: np.array(a) for name, a in optimiser.state().items()}
    for array in arrays.values():
        communicator.broadcast(array)
    optimiser.load_state(arrays)
    if len(state["random"]) == communicator.size:
        restore_random_state(state["random"][communicator.rank])
    return dict(state)


def run_of(state: dict[str, Any]) -> RunState:
    """Where the run of a checkpoint stands; CheckpointError if its state is not one of a run."""
    run, random = state.get("run"), state.get("random")
    try:
        found = RunState(**run)  # type: ignore[arg-type]
        scale, steps = found.loss_scale
        counts = (found.step, found.position, found.batch, found.pairs, steps)
        good = all(type(n) is int and n >= 0 for n in counts)
        good = good and all(isinstance(n, int | float) for n in (found.best, scale))
    except (TypeError, ValueError):
        good = False
    if not good or not isinstance(found.broken, list) or not isinstance(random, list):
        raise CheckpointError(
            f"--resume: found the state {brief(run)} in the checkpoint, expected the steps of a "
            "run and the state of its random numbers; go on from an earlier checkpoint"
        )
    return found


def restore(
    checkpoint: Checkpoint, variables: dict[str, nn.Variable], optimiser: Optimiser
) -> None:
    """Put a checkpoint's arrays in place; CheckpointError if they are of another model."""
    found = checkpoint.group("parameters")
    shapes = {name: v.shape for name, v in variables.items()}
    if {name: array.shape for name, array in found.items()} != shapes:
        raise CheckpointError(
            "--resume: the checkpoint holds another model than these settings describe; use the "
            "settings.yaml beside it (--config)"
        )
    optimiser.load_state(checkpoint.group("optimiser"))
    for name, variable in variables.items():
        variable.d = found[name]


def find_checkpoint(wanted: str, folder: Path) -> Checkpoint | None:
    """The checkpoint that `--resume` names; None if there is none to go on from."""
    if not wanted:
        return None
    if wanted != "latest":
        return read_checkpoint(Path(wanted))
    found = latest_checkpoint(folder)
    if found is None:
        logger.warning("--resume latest: found no checkpoint in %s, beginning", folder)
        return None
    logger.info("going on from %s", found[0])
    return found[1]


def random_state() -> dict[str, Any]:
    """NumPy's global random state as JSON. nnclip's own draws need none: see `data.pairs.Draw`."""
    state = np.random.get_state(legacy=False)
    return {**state, "state": {k: np.asarray(v).tolist() for k, v in state["state"].items()}}


def restore_random_state(state: dict[str, Any]) -> None:
    """The inverse of `random_state`; CheckpointError if this is none."""
    try:
        key = np.array(state["state"]["key"], np.uint32)
        np.random.set_state({**state, "state": {**state["state"], "key": key}})
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise CheckpointError(
            f"--resume: found no state of random numbers in the checkpoint ({error}); go on from "
            "an earlier one"
        ) from error
