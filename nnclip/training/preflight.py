"""What a run of the trainer is checked for before its first step."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.extras import extra
from nnclip.preflight import GB, check_packages, check_room, room
from nnclip.sources.check import check_images
from nnclip.training.communicator import Communicator
from nnclip.training.config import TrainConfig
from nnclip.training.data.captions import choice
from nnclip.training.data.pairs import PairTable, Stream
from nnclip.training.folder import check_run

logger = logging.getLogger(__name__)

BATCHES = 8  # whose captions are compared


def check_outputs(config: TrainConfig, folder: Path) -> None:
    """Check all that needs neither the model nor the pairs; rank 0 does it for all.

    Raises:
        ConfigError: an output cannot be written, or a package or a key is missing.
    """
    check_run(config, folder)
    check_packages("matplotlib")  # draws the curves at the end of each epoch
    if config.tensorboard:
        check_packages("tensorboard")
    if config.wandb:
        check_packages("wandb")
        _check_wandb()


def _check_wandb() -> None:
    """ConfigError where W&B would ask for a key, or give up, after the model is loaded."""
    if os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled"):
        return
    with extra():
        import wandb
    settings = wandb.setup().settings
    if settings.mode in ("offline", "disabled", "shared"):
        return
    if settings.api_key or settings.identity_token_file or _netrc_knows(settings.base_url):
        return
    raise ConfigError(
        f"--wandb: found no key for {settings.base_url}, expected one; set WANDB_API_KEY, run "
        "wandb login, or set WANDB_MODE=offline"
    )


def _netrc_knows(url: str) -> bool:
    import netrc
    from urllib.parse import urlsplit

    path = os.environ.get("NETRC") or None
    try:
        return netrc.netrc(path).authenticators(urlsplit(url).hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


@contextmanager
def naming(flag: str) -> Iterator[None]:
    """Inside, a DataError names the flag that its source comes from."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{flag} {error}") from error


def check_data(
    config: TrainConfig, communicator: Communicator, table: Any, validation: Any | None
) -> None:
    """Check the pairs of a run, before anything is computed from them.

    Args:
        config: the settings.
        communicator: the ranks.
        table: `PairTable` to train on.
        validation: `PairTable` to validate on, if there is one.

    Raises:
        DataError, ConfigError: see `check_batch`, `check_images` and `check_captions`.
    """
    check_batch(config, communicator, len(table))
    most = config.max_bad
    check_images(table, f"--train-txt-path {config.train}", most, table.dropped)
    if validation is not None:
        check_images(validation, f"--val-txt-path {config.val}", most, validation.dropped)
    check_captions(
        config, config.batch_size * (communicator.size if config.aggregate else 1), table
    )


def check_batch(config: TrainConfig, communicator: Communicator, pairs: int) -> None:
    """ConfigError where a batch has no wrong answers, or has the same pair twice for certain."""
    ranks = communicator.size if config.aggregate else 1
    contrasted = config.batch_size * ranks
    ways = "-b 2 or more" + (", or -ag" if communicator.size > 1 else "")
    if pairs < 2:
        raise DataError(
            f"--train-txt-path: found {pairs} pair, expected at least 2: every text is contrasted "
            "with the others of its batch"
        )
    if contrasted < 2:
        raise ConfigError(
            f"--batch-size: found {config.batch_size}, which leaves nothing to contrast with and "
            f"a loss of 0; expected {ways}"
        )
    if config.batch_size * communicator.size > pairs:
        of = f" on each of {communicator.size} ranks" if communicator.size > 1 else ""
        raise ConfigError(
            f"--batch-size: found {config.batch_size}{of}, but {pairs} pairs; expected at most "
            f"{pairs // communicator.size}: a larger batch holds pairs twice, as wrong answers to "
            "themselves"
        )


def check_captions(config: TrainConfig, batch: int, table: PairTable) -> None:
    """Tell how many captions stand twice in their batch.

    Args:
        config: the settings.
        batch: pairs that are contrasted.
        table: the pairs.
    """
    stream = Stream(len(table), config.seed, config.keep_together)
    twice = drawn = 0
    different: set[str] = set()
    for start in range(0, min(BATCHES * batch, len(table)), batch):
        captions = []
        for draw in stream.draws(start, min(batch, len(table) - start)):
            pair = table[draw.index]
            captions.append(pair.captions[choice(pair, draw)])
        _, counts = np.unique(captions, return_counts=True)
        twice += int(counts[counts > 1].sum())
        drawn += len(captions)
        different.update(captions)
    if len(different) == 1:
        logger.warning(
            "--train-txt-path: the first %d pairs have one caption, %r: nothing can be learned "
            "from it; check the column (--csv-caption-key)",
            drawn,
            different.pop(),
        )
    elif twice:
        logger.warning(
            "%d of the first %d pairs share their caption with another of their batch, and count "
            "as wrong answers to each other; a smaller batch, or captions that differ, help",
            twice,
            drawn,
        )


def check_disk(config: TrainConfig, checkpoint: int, model: int) -> None:
    """Check that there is room for a checkpoint and the model.

    Args:
        config: the settings.
        checkpoint: its size in bytes.
        model: that of the model that is saved at the end.

    Raises:
        ConfigError: not for one checkpoint and the model.
    """
    folder = Path(config.monitor_path)
    flag = "--monitor-path"
    if config.model_save_path:
        path = Path(config.model_save_path)
        check_room(path.parent, model, "the model", "--model-save-path")
        check_room(folder, checkpoint, "a checkpoint", flag)
    else:
        check_room(folder, checkpoint + model, "a checkpoint and the model", flag)
    wanted = (config.keep_last + 1) * checkpoint + 2 * model
    if room(folder) < wanted:
        logger.warning(
            "%s: found room for %.2f GB, but %d checkpoints, one being written, and two models "
            "take %.2f GB; a lower --keep-last helps",
            flag,
            room(folder) / GB,
            config.keep_last,
            wanted / GB,
        )
