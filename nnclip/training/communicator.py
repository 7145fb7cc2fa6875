"""What ranks that train say to each other: alone, over MPI, or over NCCL between GPUs."""

import zlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from nnclip.engine.memory import float_memory
from nnclip.errors import NnclipError
from nnclip.nnabla import nn
from nnclip.ranks import LoneRank, MpiRank, TimeoutExceededError, check_launcher, launched_size

__all__ = [
    "Alone",
    "Communicator",
    "MpiCommunicator",
    "TimeoutExceededError",
    "check_equal",
    "check_launcher",
    "connect",
    "launched_size",
]

SMALL = 1 << 16  # numbers; smaller arrays travel together


class Communicator(Protocol):
    """The ranks of a job.

    Attributes:
        rank: this process, 0 to size - 1.
        size: number of processes.
        local_rank: this process among those on its host.
        local_size: processes on this host.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int

    def gather_rows(self, rows: np.ndarray) -> np.ndarray:
        """(n, ...) of every rank -> (size * n, ...), by rank; n is the same on all."""
        ...

    def passed_on(self, array: np.ndarray) -> np.ndarray:
        """What the rank before gives; the rank after gets `array`, of the same shape and dtype."""
        ...

    def sum_array(self, array: np.ndarray) -> None:
        """Replace `array` by its sum over the ranks."""
        ...

    def sum_gradients(self, variables: Sequence[nn.Variable]) -> None:
        """Replace the gradient of each variable by its sum over the ranks."""
        ...

    def broadcast(self, array: np.ndarray) -> None:
        """Replace `array` by that of rank 0; shape and dtype are the same on all."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """A small Python object of every rank, by rank."""
        ...

    def abort(self, status: int) -> None:
        """End the whole job at once; returns only where there is nobody else."""
        ...


class Alone(LoneRank):
    """One process."""

    def sum_gradients(self, variables: Sequence[nn.Variable]) -> None:
        """See `Communicator`."""


class MpiCommunicator(MpiRank):
    """Ranks that mpirun or Slurm started, over mpi4py."""

    def sum_gradients(self, variables: Sequence[nn.Variable]) -> None:
        """See `Communicator`."""
        gradients = [float_memory(variable.grad) for variable in variables]
        small = [g for g in gradients if g.size < SMALL]
        if small:
            together = np.concatenate([g.reshape(-1) for g in small])
            self.sum_array(together)
            at = 0
            for gradient in small:
                gradient[...] = together[at : at + gradient.size].reshape(gradient.shape)
                at += gradient.size
        for gradient in gradients:
            if gradient.size >= SMALL:
                self.sum_array(gradient)


def connect(timeout: float) -> Communicator:
    """The communicator of this process: MPI where a launcher started it, else alone."""
    return Alone() if launched_size()[0] == 1 else MpiCommunicator(timeout)


def check_equal(
    communicator: Communicator, arrays: dict[str, np.ndarray], advice: str = ""
) -> None:
    """NnclipError that names the arrays which are not the same, to the bit, on all ranks.

    Args:
        communicator: the ranks.
        arrays: name -> what should be equal.
        advice: what to do then.
    """
    if communicator.size == 1:
        return
    sums = np.array([zlib.crc32(np.ascontiguousarray(a).data) for a in arrays.values()], np.int64)
    every = communicator.gather_rows(sums[None])
    differing = [name for i, name in enumerate(arrays) if (every[:, i] != every[0, i]).any()]
    if differing:
        raise NnclipError(
            f"the ranks hold different parameters: {', '.join(differing[:5])}"
            f"{' and more' if len(differing) > 5 else ''}, expected the same on all: their hosts "
            f"compute differently, or one has faulty memory; {advice}".rstrip("; ")
        )
