"""Two ranks that sum for ever, through train.py's own way out; rank 1 does as it is told.

    failing_rank.py raise|wait|differ FILE FLAGS...

Rank 1 writes its process id to FILE when it is at work.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnclip.training.communicator import Communicator, check_equal
from nnclip.training.config import TrainConfig
from nnclip.training.flags import parse_flags
from nnclip.training.launch import launch
from nnclip.weights.h5 import write_whole


@dataclass
class Work:
    """Stands where the trainer does."""

    config: TrainConfig
    communicator: Communicator
    context: str

    def run(self) -> None:
        rank, first = self.communicator.rank, True
        while True:
            self.communicator.sum_array(np.ones(1 << 12))
            if sys.argv[1] == "differ":
                arrays = {"a": np.zeros(4, np.float32), "b": np.full(4, rank, np.float32)}
                check_equal(self.communicator, arrays)
            if rank == 1 and first:
                # whole at once: whoever waits for the file never reads half of it
                write_whole(Path(sys.argv[2]), lambda it: Path(it).write_text(str(os.getpid())))
                first = False
            if rank == 1 and sys.argv[1] == "raise":
                raise RuntimeError("made to fail")


if __name__ == "__main__":
    folder = str(Path(sys.argv[2]).parent / "run")
    flags = ["-c", "cpu", "--train-txt-path", "none.csv", "-m", folder, *sys.argv[3:]]
    sys.exit(launch("failing_rank.py", parse_flags(flags), Work))
