"""Two ranks that sum for ever, through train.py's own way out; rank 1 does as it is told.

    failing_rank.py raise|wait|differ FILE FLAGS...

Rank 1 writes its process id to FILE when it is at work.
"""

import os
import sys
from pathlib import Path

import numpy as np

from nnclip.training import launch
from nnclip.training.communicator import Communicator, check_equal
from nnclip.training.config import TrainConfig


def work(config: TrainConfig, communicator: Communicator, context: str) -> int:
    second, first = communicator.rank == 1, True
    while True:
        communicator.sum_array(np.ones(1 << 12))
        if sys.argv[1] == "differ":
            arrays = {"a": np.zeros(4, np.float32), "b": np.full(4, communicator.rank, np.float32)}
            check_equal(communicator, arrays)
        if second and first:
            Path(sys.argv[2]).write_text(str(os.getpid()))
            first = False
        if second and sys.argv[1] == "raise":
            raise RuntimeError("made to fail")


if __name__ == "__main__":
    launch._train = work
    sys.exit(launch.main(["-c", "cpu", *sys.argv[3:]]))
