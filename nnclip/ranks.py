"""Processes that mpirun or Slurm started together, and what they tell each other over MPI.

A rank that stops answering would hang the others for ever in a blocking collective, so every one
here waits with a deadline first.
"""

import math
import os
import pickle
import time
from typing import Any

import numpy as np

from nnclip.errors import ConfigError, NnclipError

PAUSE = 1e-4  # seconds between two looks: less slows data workers down, more slows large sums
PIECE = 1 << 26  # bytes sent at once; one MPI message holds at most 2 GiB


class TimeoutExceededError(NnclipError, TimeoutError):
    """Another rank did not answer in time."""


class LoneRank:
    """One process.

    Attributes:
        rank: this process, 0 to size - 1.
        size: number of processes.
        local_rank: this process among those on its host.
        local_size: processes on this host.
    """

    rank, size, local_rank, local_size = 0, 1, 0, 1

    def gather_rows(self, rows: np.ndarray) -> np.ndarray:
        """(n, ...) of every rank -> (size * n, ...), by rank; n is the same on all."""
        return rows

    def passed_on(self, array: np.ndarray) -> np.ndarray:
        """What the rank before gives; the rank after gets `array`, of the same shape and dtype."""
        return array

    def sum_array(self, array: np.ndarray) -> None:
        """Replace `array` by its sum over the ranks."""

    def broadcast(self, array: np.ndarray) -> None:
        """Replace `array` by that of rank 0; shape and dtype are the same on all."""

    def gather(self, value: Any) -> list[Any]:
        """A Python object of every rank, by rank."""
        return [value]

    def abort(self, status: int) -> None:
        """End the whole job at once; returns only where there is nobody else."""


class MpiRank(LoneRank):
    """One of several processes, over mpi4py."""

    def __init__(self, timeout: float = math.inf) -> None:
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
        """See `LoneRank`."""
        rows = np.ascontiguousarray(rows)
        gathered = np.empty((self.size * len(rows), *rows.shape[1:]), rows.dtype)
        self._wait(self._world.Iallgather(rows, gathered), "gathering features")
        return gathered

    def passed_on(self, array: np.ndarray) -> np.ndarray:
        """See `LoneRank`."""
        array = np.ascontiguousarray(array)
        got = np.empty_like(array)
        before, after = (self.rank - 1) % self.size, (self.rank + 1) % self.size
        sent = self._world.Isend(array, after)
        self._wait(self._world.Irecv(got, before), "passing features on")
        self._wait(sent, "passing features on")
        return got

    def sum_array(self, array: np.ndarray) -> None:
        """See `LoneRank`."""
        self._wait(self._world.Iallreduce(self._mpi.IN_PLACE, array), "summing")

    def broadcast(self, array: np.ndarray) -> None:
        """See `LoneRank`."""
        self._wait(self._world.Ibcast(array, 0), "broadcasting")

    def gather(self, value: Any) -> list[Any]:
        """See `LoneRank`; an object may be larger than a message."""
        self._wait(self._world.Ibarrier(), "waiting for every rank")  # what follows has no deadline
        return [self._sent(value, root) for root in range(self.size)]

    def abort(self, status: int) -> None:
        """See `LoneRank`."""
        self._world.Abort(status)

    def _sent(self, value: Any, root: int) -> Any:
        """`value` of rank `root`, in pieces that fit into messages."""
        data = pickle.dumps(value, protocol=5) if self.rank == root else b""
        length = self._world.bcast(len(data), root)
        buffer = bytearray(data) if self.rank == root else bytearray(length)
        view = memoryview(buffer)
        for start in range(0, length, PIECE):
            self._world.Bcast(view[start : start + PIECE], root)
        return value if self.rank == root else pickle.loads(buffer)

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
