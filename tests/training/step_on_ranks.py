"""One step of train.py on however many ranks; rank 0 writes what it found to OUT.npz.

step_on_ranks.py OUT.npz FLAGS...
"""

import sys

import numpy as np

from nnclip.commands.training_run import make_trainer
from nnclip.training.communicator import connect
from nnclip.training.flags import parse_flags

if __name__ == "__main__":
    config = parse_flags(sys.argv[2:])
    communicator = connect(60)
    trainer = make_trainer(config, communicator, "cpu")
    with trainer.feed.training(communicator, 0, 1) as batches:
        fed = next(batches)
        result, _ = trainer.one_step(fed)
    found = {f"gradient {name}": v.g for name, v in trainer.step.trained.items()}
    found |= {f"parameter {name}": v.d for name, v in trainer._variables.items()}
    if communicator.rank == 0:
        np.savez(
            sys.argv[1], loss=result.loss, **{k.replace("/", "|"): a for k, a in found.items()}
        )
