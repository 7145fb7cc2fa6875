"""The processes of one evaluation: alone, or as many as mpirun started.

Work is cut into blocks whose size does not depend on the number of processes, so that every number
comes out the same, to the last bit, on one and on many.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from nnclip.errors import NnclipError
from nnclip.ranks import LoneRank, MpiRank, launched_size

Block = TypeVar("Block")


class Ranks:
    """What processes tell each other; with one process, nothing.

    Attributes:
        rank: this process, 0 to size - 1; rank 0 prints.
        size: number of processes.
        agreed: whether the last error was told to all of them.
    """

    def __init__(self, world: LoneRank | None = None) -> None:
        """Share the work of these processes; None to be alone."""
        self._world = world or LoneRank()
        self.rank, self.size = self._world.rank, self._world.size
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
        for part in self._world.gather(result):
            if isinstance(part, NnclipError):
                self.agreed = True
                raise part
            collected += part
        return collected

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum of integer arrays over the processes."""
        return np.sum(self._world.gather(array), axis=0)

    def abort(self) -> None:
        """End the other processes too: they would wait for this one for ever."""
        self._world.abort(1)


def join() -> Ranks:
    """The processes that mpirun started with this one; imports mpi4py only if there is a launcher.

    Raises:
        ConfigError: mpirun belongs to another MPI than mpi4py's, and N lone processes came of it.
    """
    return Ranks() if launched_size()[0] == 1 else Ranks(MpiRank())
