"""Memory that a process and its workers see."""

import mmap
import os
import tempfile
from contextlib import suppress


class Shared:
    """Bytes in memory; `close` it.

    Linux has anonymous files in memory: they need no room in /dev/shm (64 MB in containers) and are
    gone with the last process that holds them, however that one ends. Elsewhere it is a temporary
    file.

    Attributes:
        memory: the bytes, in this process.
        place: what `opened` takes in another process, as long as this one has not closed it.
    """

    def __init__(self, size: int) -> None:
        self._temporary = not hasattr(os, "memfd_create")
        if self._temporary:
            self._file, self.place = tempfile.mkstemp(prefix="nnclip-batches-")
        else:
            self._file = os.memfd_create("nnclip-batches")
            self.place = f"/proc/{os.getpid()}/fd/{self._file}"
        os.ftruncate(self._file, size)
        self.memory = mmap.mmap(self._file, size)

    def close(self) -> None:
        """Close the file; arrays on its memory stay."""
        if self._file < 0:
            return
        os.close(self._file)
        self._file = -1
        if self._temporary:
            with suppress(OSError):  # Windows, while an array is still there
                os.unlink(self.place)


def opened(place: str) -> mmap.mmap:
    """The bytes of a `Shared`, in another process."""
    with open(place, "r+b") as file:
        return mmap.mmap(file.fileno(), 0)
