"""From a command line to a finished run: ranks, logging, and failures that end all ranks."""

import logging
import sys
from collections.abc import Sequence

from nnclip.errors import NnclipError
from nnclip.training.communicator import Alone, Communicator, connect
from nnclip.training.flags import parse_flags
from nnclip.training.sizes import SIZES


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the flags say; returns the exit status.

    An exception that left one rank of a job alone would hang the others: every way out of here
    but a success ends the whole job.
    """
    communicator: Communicator = Alone()
    try:
        config = parse_flags(argv)
        if config.model == "list":
            print("\n".join(SIZES))
            return 0
        communicator = connect(config.timeout)
        log_from(communicator)
        from nnclip.training.trainer import Trainer

        path = Trainer(config, communicator).run()
        if communicator.rank == 0:
            print(path)
        return 0
    except NnclipError as error:
        print(f"train.py: {error}", file=sys.stderr, flush=True)
        communicator.abort(2)
        return 2
    except KeyboardInterrupt:
        communicator.abort(130)
        return 130
    except Exception:
        logging.getLogger(__name__).exception("rank %d failed", communicator.rank)
        communicator.abort(1)
        raise


def log_from(communicator: Communicator) -> None:
    """Log to stderr, each line with its rank where there are several."""
    rank = f"[rank {communicator.rank}] " if communicator.size > 1 else ""
    logging.basicConfig(
        level=logging.INFO if communicator.rank == 0 else logging.WARNING,
        format=f"{rank}%(levelname)s %(name)s: %(message)s",
        force=True,
    )
