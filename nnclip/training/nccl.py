"""Gradients summed between GPUs by NCCL, through NNabla's own communicator."""

from collections.abc import Sequence
from typing import Any

from nnclip.engine.contexts import float_context
from nnclip.errors import ConfigError
from nnclip.nnabla import nn
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
            context: the GPU's. Gradients are summed in float32 even where it is a half one: scaled
                ones of many ranks would not fit into float16.

        Raises:
            ConfigError: NNabla did not find Open MPI or NCCL when it was loaded.
        """
        super().__init__(timeout)
        with nn.context_scope(context):
            self._nccl = _nnabla_communicator(float_context())

    def sum_gradients(self, variables: Sequence[nn.Variable]) -> None:
        """See `Communicator`."""
        gradients = [variable.grad for variable in variables]
        self._nccl.all_reduce(gradients, division=False, inplace=False)


def _nnabla_communicator(context: nn.Context) -> Any:
    """NNabla's communicator, ready."""
    try:
        from nnabla.communicators import MultiProcessDataParallelCommunicator

        communicator = MultiProcessDataParallelCommunicator(context)
        communicator.init()
    except Exception as error:  # NNabla raises what its C++ does
        raise ConfigError(
            f"several GPUs cannot work together here ({str(error).strip().splitlines()[-1]}); "
            "`nnclip doctor` says whether MPI and NCCL are found"
        ) from error
    return communicator
