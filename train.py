"""Train CLIP: `mpirun -n 2 python train.py -ft ...`, `python train.py -h`."""

import sys

if __name__ == "__main__":  # data workers import this file too
    from nnclip.commands.training_run import main

    sys.exit(main())
