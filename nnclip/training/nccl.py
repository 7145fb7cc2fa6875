"""Gradients summed between GPUs by NCCL, through NNabla's own communicator."""

from collections.abc import Sequence

import nnabla as nn
import nnabla.communicators as C

from nnclip.training.communicator import MpiCommunicator


class NcclCommunicator(MpiCommunicator):
    """MPI for what is small and in main memory, NCCL for gradients.

    NNabla's communicator exists for CUDA contexts alone, and only where `nnabla_ext.cuda` was
    imported before MPI.
    """

    def __init__(self, timeout: float, context: nn.Context) -> None:
        """Join the job.

        Args:
            timeout: as for `MpiCommunicator`; NCCL itself knows none.
            context: the GPU's.
        """
        super().__init__(timeout)
        self._nccl = C.MultiProcessDataParallelCommunicator(context)
        self._nccl.init()

    def sum_gradients(self, variables: Sequence[nn.Variable]) -> None:
        """See `Communicator`."""
        gradients = [variable.grad for variable in variables]
        self._nccl.all_reduce(gradients, division=False, inplace=False)
