"""The processes of one evaluation: alone, or as many as mpirun started.

Work is cut into blocks whose size does not depend on the number of processes, so that every number
comes out the same, to the last bit, on one and on many.
"""

import os
import pickle
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from nnclip.errors import ConfigError, NnclipError

Block = TypeVar("Block")
LAUNCHERS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
PIECE = 1 << 26  # bytes sent at once; one MPI message holds at most 2 GiB


class Ranks:
    """What processes tell each other; with one process, nothing.

    Attributes:
        rank: this process, 0 to size - 1; rank 0 prints.
        size: number of processes.
        agreed: whether the last error was told to all of them.
    """

    def __init__(self, world: Any = None) -> None:
        """Join `world`, an mpi4py communicator, or be alone."""
        self._world = world
        self.rank: int = world.rank if world else 0
        self.size: int = world.size if world else 1
        self.agreed = False

    def share(self, blocks: Sequence[Block]) -> Sequence[Block]:
        """This process's run of the blocks."""
        first, last = (len(blocks) * (self.rank + i) // self.size for i in (0, 1))
        return blocks[first:last]

    def collect(self, work: Callable[[], list[Any]]) -> list[Any]:
        """The lists that `work` gives on all processes, one after the other, on each of them.

        Raises:
            NnclipError: the one that the first failing process raised, on all of them.
        """
        result: list[Any] | NnclipError
        try:
            result = work()
        except NnclipError as error:
            result = error
        collected: list[Any] = []
        for part in [result] if self._world is None else self._gather(result):
            if isinstance(part, NnclipError):
                self.agreed = True
                raise part
            collected += part
        return collected

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum of integer arrays over the processes."""
        parts = [array] if self._world is None else self._gather(array)
        return np.sum(parts, axis=0)

    def _gather(self, value: Any) -> list[Any]:
        return [self._broadcast(value, root) for root in range(self.size)]

    def _broadcast(self, value: Any, root: int) -> Any:
        """`value` of process `root`, in pieces that fit into messages."""
        data = pickle.dumps(value, protocol=5) if self.rank == root else b""
        length = self._world.bcast(len(data), root)
        buffer = bytearray(data) if self.rank == root else bytearray(length)
        view = memoryview(buffer)
        for start in range(0, length, PIECE):
            self._world.Bcast(view[start : start + PIECE], root)
        return value if self.rank == root else pickle.loads(buffer)

    def abort(self) -> None:
        """End the other processes too: they would wait for this one for ever."""
        if self.size > 1:
            self._world.Abort(1)


def join() -> Ranks:
    """The processes that mpirun started with this one; imports mpi4py only if there is a launcher.

    Raises:
        ConfigError: mpirun belongs to another MPI than mpi4py's, and N lone processes came of it.
    """
    expected = next((int(os.environ[name]) for name in LAUNCHERS if name in os.environ), 1)
    if expected == 1:
        return Ranks()
    from mpi4py import MPI

    if expected != MPI.COMM_WORLD.size:
        raise ConfigError(
            f"mpirun started {expected} processes but each sees {MPI.COMM_WORLD.size}: this mpirun "
            f"does not belong to mpi4py's library ({MPI.Get_library_version().split(',')[0]}). "
            "Use the mpirun of .venv/bin"
        )
    return Ranks(MPI.COMM_WORLD)
