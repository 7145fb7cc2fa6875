"""What ranks tell each other after a step, and when too much of the data is bad."""

import logging

import numpy as np

from nnclip.errors import DataError
from nnclip.training.communicator import Communicator
from nnclip.training.runstate import RunState

logger = logging.getLogger(__name__)


def agree(communicator: Communicator, state: RunState, wish: bool, broken: dict[str, str]) -> bool:
    """Tell all ranks what happened on any.

    Args:
        communicator: the ranks.
        state: where the run stands; learns the names of broken images.
        wish: whether this rank wants to stop.
        broken: name -> what is wrong with it, of this rank's images.

    Returns: whether any rank wants to stop.
    """
    heard = np.array([wish, len(broken)], np.float64)
    communicator.sum_array(heard)
    known = set(state.broken)
    for one in communicator.gather(broken) if heard[1] else []:
        for name in one.keys() - known:
            logger.warning("skipped: %s", one[name])
        known |= one.keys()
    state.broken = sorted(known)
    return bool(heard[0])


def check_bad(state: RunState, empty: int, most: int) -> None:
    """DataError where more than `most` images are broken and captions `empty`."""
    if len(state.broken) + empty > most:
        raise DataError(
            f"found {len(state.broken)} broken images and {empty} empty captions, more than "
            f"--max-bad {most}; the first: {min(state.broken, default='a caption')}"
        )
