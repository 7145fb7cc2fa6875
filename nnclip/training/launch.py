"""From settings to a finished run: ranks, logging, and failures that end all ranks."""

import dataclasses
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from nnclip.errors import ConfigError, NnclipError
from nnclip.files import shown
from nnclip.logs import log_to_stderr
from nnclip.nnabla import require_nnabla
from nnclip.training.checkpoint import going_on
from nnclip.training.communicator import Alone, Communicator, connect
from nnclip.training.config import TrainConfig
from nnclip.training.folder import chosen_folder, made_folder
from nnclip.training.machine import choose_context, enter_context
from nnclip.training.preflight import check_outputs
from nnclip.training.rehearsal import rehearse
from nnclip.training.trainer import Trainer

logger = logging.getLogger(__name__)

Make = Callable[[TrainConfig, Communicator, str], Trainer]


def launch(name: str, config: TrainConfig, make: Make) -> int:
    """Make a trainer by `make` and run it; returns the exit status.

    An exception that left one rank of a job alone would hang the others: every way out of here
    but a success ends the whole job.

    Args:
        name: of the program, for its messages.
        config: the settings.
        make: makes the trainer, once this rank is ready and the outputs are checked.
    """
    communicator: Communicator = Alone()
    status = 1
    try:
        require_nnabla("training")
        context = choose_context(config.context, config.tf32 == "on")
        communicator = connect(config.timeout)
        log_from(communicator)
        config = settled(config, communicator)
        status = _train(config, communicator, context, make)
    except NnclipError as error:
        print(shown(f"{name}: {error}"), file=sys.stderr, flush=True)
        status = 2
    except OSError as error:
        told = f"{name}: {error}; {going_on(Path(config.monitor_path))}"
        print(shown(told), file=sys.stderr, flush=True)
        status = 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted before the first step", file=sys.stderr, flush=True)
        status = 130
    except Exception:
        logger.exception("rank %d failed", communicator.rank)
    finally:
        if status:
            communicator.abort(status)
    return status


def settled(config: TrainConfig, communicator: Communicator) -> TrainConfig:
    """The settings with the run's folder in them, once rank 0 has found all outputs writable.

    Raises:
        NnclipError: see `check_outputs`.
    """
    if not config.train:
        raise ConfigError("--train-txt-path: found nothing, expected pairs to train on")
    folder = ""
    if communicator.rank == 0:
        check_outputs(config, chosen_folder(config))
        folder = str(chosen_folder(config) if config.dry_run else made_folder(config))
    return dataclasses.replace(config, monitor_path=communicator.gather(folder)[0])


def _train(config: TrainConfig, communicator: Communicator, context: str, make: Make) -> int:
    gpu = enter_context(config, context, communicator)
    if context != "cpu" and communicator.size > 1:
        from nnclip.training.nccl import NcclCommunicator  # needs the GPU's extension

        communicator = NcclCommunicator(config.timeout, gpu)
    trainer = make(config, communicator, context)
    if config.dry_run:
        told = rehearse(trainer)
        if communicator.rank == 0:
            print(told)
        return 0
    if communicator.rank == 0 and "OMPI_COMM_WORLD_SIZE" in os.environ:
        logger.info(
            "kill -USR1 %d saves and ends the run; Ctrl-C and SIGTERM to mpirun leave its ranks "
            "0.2 s",
            os.getppid(),
        )
    path = trainer.run()
    if communicator.rank == 0:
        steps = f"step {trainer.state.step} of {trainer.total}"
        stopped = f"stopped; go on with --resume latest -m {trainer.folder} (after {steps})"
        print(shown(path or stopped))
    return 0


def log_from(communicator: Communicator) -> None:
    """Log to stderr with the rank; what all ranks have to say, rank 0 says for them."""
    rank = f"[rank {communicator.rank}] " if communicator.size > 1 else ""
    level = logging.INFO if communicator.rank == 0 else logging.ERROR
    log_to_stderr(level, rank, force=True)
