"""Parameters that stay in their file until somebody needs them as Variables.

The file is mapped: a compiler reads its pages once, and they can be given back afterwards, so that
the weights do not lie in memory twice.
"""

import mmap
import os
from pathlib import Path

import h5py
import numpy as np

from nnclip.errors import CheckpointError
from nnclip.weights.h5 import check_finite, check_sum, sum_of, values_of


class MappedArrays:
    """The float32 arrays of one file, by name.

    Replacing the file by renaming another one onto it, as all of nnclip does, leaves these arrays
    as they are. Writing into the very file is noticed at the next use.
    """

    def __init__(self, path: str | Path) -> None:
        """Map `path`, which must exist; `add` says what lies in it."""
        self._path = Path(path)
        self._file = open(path, "rb")  # noqa: SIM115, kept to ask whether the file has changed
        # A private mapping: OpenVINO wants memory that could be written, though it never does.
        self._memory = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._state = self._present_state()
        self._arrays: dict[str, np.ndarray] = {}
        self._sums: dict[str, int | None] = {}

    def add(self, name: str, shape: tuple[int, ...], dataset: h5py.Dataset) -> None:
        """Name a dataset; one that does not lie in the file as plain float32 is read at once."""
        self._sums[name] = None
        offset = dataset.id.get_offset()  # None where it is stored in chunks or compressed
        if dataset.dtype == np.dtype("<f4") and offset is not None and offset % 4 == 0:
            count = int(np.prod(shape))
            self._arrays[name] = np.frombuffer(self._memory, "<f4", count, offset).reshape(shape)
            self._sums[name] = sum_of(dataset)
        else:
            self._arrays[name] = np.array(values_of(dataset), np.float32).reshape(shape)

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays, not to be written to.

        Raises:
            CheckpointError: somebody has written into the file since it was mapped.
        """
        if self._present_state() != self._state:
            raise CheckpointError(
                f"{self._path}: found it overwritten while a model of it is in use, expected it "
                "unchanged; load it again, and replace such files by renaming"
            )
        return dict(self._arrays)

    def array(self, name: str) -> np.ndarray:
        """One of `arrays`, finite and as written; CheckpointError if it is not, or as above."""
        array = self.arrays()[name]
        try:
            check_finite(name, array)
            check_sum(name, array, self._sums[name])
        except CheckpointError as error:
            raise CheckpointError(f"{self._path}: {error}") from error
        return array

    def give_back(self) -> None:
        """Let go of the memory that reading has filled; it is read again where it is needed."""
        if hasattr(mmap, "MADV_DONTNEED"):  # nothing was written, so nothing is lost
            self._memory.madvise(mmap.MADV_DONTNEED)

    def _present_state(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
