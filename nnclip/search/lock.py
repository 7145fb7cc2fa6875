"""One writer at a time, by a file lock that the system releases when the process ends."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nnclip.errors import DataError

logger = logging.getLogger(__name__)

FILE = "lock"
INDEX = "index.lock"  # an index takes minutes to build; images may be added meanwhile


@contextmanager
def locked(folder: Path, name: str = FILE) -> Iterator[None]:
    """Hold a lock of a folder, which is made if it is not there; waits while another holds it.

    A thread that holds it may take it again.

    Raises:
        DataError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.resolve() / name, is_singleton=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("%s: another process is changing it; waiting until it is done", folder)
            lock.acquire()
    except OSError as error:
        raise DataError(f"{folder}: cannot be written to ({error})") from error
    try:
        yield
    finally:
        lock.release()
