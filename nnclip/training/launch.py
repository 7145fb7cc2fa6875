"""From a command line to a finished run: ranks, logging, and failures that end all ranks."""

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial

from nnclip.errors import ConfigError, NnclipError
from nnclip.files import shown
from nnclip.logs import log_to_stderr
from nnclip.nnabla import require_nnabla
from nnclip.training.communicator import Alone, Communicator, connect
from nnclip.training.config import TrainConfig
from nnclip.training.flags import parse_flags
from nnclip.training.machine import choose_context, enter_context
from nnclip.training.sizes import SIZES
from nnclip.training.trainer import Trainer


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the flags say; returns the exit status."""
    config = _parsed(argv)
    if config is None:
        return 2
    if config.model == "list":
        print("\n".join(SIZES))
        return 0
    return launch("train.py", config, partial(Trainer, config))


def launch(name: str, config: TrainConfig, make: Callable[[Communicator, str], Trainer]) -> int:
    """Run what `make` makes of the ranks and the context's name; returns the exit status.

    An exception that left one rank of a job alone would hang the others: every way out of here
    but a success ends the whole job.

    Args:
        name: of the program, for its messages.
        config: the settings.
        make: makes the trainer, once this rank is ready.
    """
    communicator: Communicator = Alone()
    status = 1
    try:
        require_nnabla("training")
        context = choose_context(config.context, config.tf32 == "on")
        communicator = connect(config.timeout)
        log_from(communicator)
        status = _train(config, communicator, context, make)
    except NnclipError as error:
        print(shown(f"{name}: {error}"), file=sys.stderr, flush=True)
        status = 2
    except OSError as error:
        print(
            f"{name}: {error}; the checkpoints written before are whole, --resume latest goes "
            "on from the last one",
            file=sys.stderr,
            flush=True,
        )
        status = 2
    except KeyboardInterrupt:
        status = 130
    except Exception:
        logging.getLogger(__name__).exception("rank %d failed", communicator.rank)
    finally:
        if status:
            communicator.abort(status)
    return status


def _parsed(argv: Sequence[str] | None) -> TrainConfig | None:
    """The settings; None after saying what is wrong with them."""
    try:
        return parse_flags(argv)
    except NnclipError as error:
        print(shown(f"train.py: {error}"), file=sys.stderr, flush=True)
        return None


def _train(
    config: TrainConfig,
    communicator: Communicator,
    context: str,
    make: Callable[[Communicator, str], Trainer],
) -> int:
    if not config.train:
        raise ConfigError("--train-txt-path: found nothing, expected pairs to train on")
    gpu = enter_context(config, context, communicator)
    if context != "cpu" and communicator.size > 1:
        from nnclip.training.nccl import NcclCommunicator  # needs the GPU's extension

        communicator = NcclCommunicator(config.timeout, gpu)
    path = make(communicator, context).run()
    if communicator.rank == 0:
        print(shown(path or f"stopped; go on with --resume latest -m {config.monitor_path}"))
    return 0


def log_from(communicator: Communicator) -> None:
    """Log to stderr with the rank; what all ranks have to say, rank 0 says for them."""
    rank = f"[rank {communicator.rank}] " if communicator.size > 1 else ""
    level = logging.INFO if communicator.rank == 0 else logging.ERROR
    log_to_stderr(level, rank, force=True)
