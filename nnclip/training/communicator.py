"""What ranks say to each other. One interface; alone, over MPI, or over NCCL between GPUs.

A rank that stops answering would hang the others for ever in a blocking collective, so every one
here is a non-blocking one with a deadline.
"""

import logging
import os
import time
import zlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from nnclip.engine.memory import float_memory
from nnclip.errors import ConfigError, NnclipError
from nnclip.nnabla import nn

logger = logging.getLogger(__name__)

SMALL = 1 << 16  # numbers; smaller arrays travel together
PAUSE = 1e-4  # seconds between two looks: less slows data workers down, more slows large sums


class TimeoutExceededError(NnclipError, TimeoutError):
    """Another rank did not answer in time."""


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


class Alone:
    """One process."""

    rank, size, local_rank, local_size = 0, 1, 0, 1

    def gather_rows(self, rows: np.ndarray) -> np.ndarray:
        """See `Communicator`."""
        return rows

    def sum_array(self, array: np.ndarray) -> None:
        """See `Communicator`."""

    def sum_gradients(self, variables: Sequence[nn.Variable]) -> None:
        """See `Communicator`."""

    def broadcast(self, array: np.ndarray) -> None:
        """See `Communicator`."""

    def gather(self, value: Any) -> list[Any]:
        """See `Communicator`."""
        return [value]

    def abort(self, status: int) -> None:
        """See `Communicator`."""


class MpiCommunicator:
    """Ranks that mpirun or Slurm started, over mpi4py."""

    def __init__(self, timeout: float = 600.0) -> None:
        """Join the job.

        Args:
            timeout: seconds that a collective may take; then `TimeoutExceededError`.

        Raises:
            ConfigError: the launcher belongs to another MPI than mpi4py's.
        """
        from mpi4py import MPI

        self._mpi, self._timeout = MPI, timeout
        self._world = MPI.COMM_WORLD
        self.rank, self.size = self._world.rank, self._world.size
        check_launcher(self.size, MPI.Get_library_version())
        host = self._world.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = host.rank, host.size

    def gather_rows(self, rows: np.ndarray) -> np.ndarray:
        """See `Communicator`."""
        rows = np.ascontiguousarray(rows)
        gathered = np.empty((self.size * len(rows), *rows.shape[1:]), rows.dtype)
        self._wait(self._world.Iallgather(rows, gathered), "gathering features")
        return gathered

    def sum_array(self, array: np.ndarray) -> None:
        """See `Communicator`."""
        self._wait(self._world.Iallreduce(self._mpi.IN_PLACE, array), "summing")

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

    def broadcast(self, array: np.ndarray) -> None:
        """See `Communicator`."""
        self._wait(self._world.Ibcast(array, 0), "broadcasting")

    def gather(self, value: Any) -> list[Any]:
        """See `Communicator`."""
        self._wait(self._world.Ibarrier(), "waiting for every rank")  # allgather has no deadline
        return list(self._world.allgather(value))

    def abort(self, status: int) -> None:
        """See `Communicator`."""
        self._world.Abort(status)

    def _wait(self, request: Any, doing: str) -> None:
        deadline = time.monotonic() + self._timeout
        while not request.Test():
            if time.monotonic() > deadline:
                raise TimeoutExceededError(
                    f"rank {self.rank}: another rank did not answer within {self._timeout:g} s "
                    f"while {doing}; look at its log and its host (--timeout)"
                )
            time.sleep(PAUSE)


LAUNCHERS = {
    "OMPI_COMM_WORLD_SIZE": "Open MPI's mpirun",
    "PMI_SIZE": "MPICH's mpiexec",
    "SLURM_STEP_NUM_TASKS": "srun",
}


def launched_size() -> tuple[int, str]:
    """How many ranks the launcher started by its own account, and which launcher it is."""
    found = [
        (int(os.environ[name]), launcher)
        for name, launcher in LAUNCHERS.items()
        if os.environ.get(name, "").isdigit()
    ]
    return max(found, default=(1, "no launcher"), key=lambda one: one[0])


def check_launcher(size: int, library: str) -> None:
    """ConfigError where MPI sees another number of ranks than the launcher started.

    It happens when mpirun is of another MPI than the one mpi4py loads: N jobs of one rank then
    run at once, and each ends with success.
    """
    launched, launcher = launched_size()
    if launched != size:
        raise ConfigError(
            f"{launcher} started {launched} ranks, but MPI ({library.split(',')[0].strip()}) sees "
            f"{size}: the launcher belongs to another MPI; use the mpirun of this environment "
            "(.venv/bin/mpirun) or install mpi4py's own"
        )


def connect(timeout: float) -> Communicator:
    """The communicator of this process: MPI where a launcher started it, else alone."""
    if launched_size()[0] == 1:
        return Alone()
    return MpiCommunicator(timeout)


def check_equal(communicator: Communicator, arrays: dict[str, np.ndarray]) -> None:
    """NnclipError that names the arrays which are not the same, to the bit, on all ranks."""
    if communicator.size == 1:
        return
    sums = np.array([zlib.crc32(np.ascontiguousarray(a).data) for a in arrays.values()], np.int64)
    every = communicator.gather_rows(sums[None])
    differing = [name for i, name in enumerate(arrays) if (every[:, i] != every[0, i]).any()]
    if differing:
        raise NnclipError(
            f"the ranks hold different parameters: {', '.join(differing[:5])}"
            f"{' and more' if len(differing) > 5 else ''}; resume from the last checkpoint"
        )
