"""One process at a time: a lock that the system drops when its holder dies."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nnclip.errors import ConfigError
from nnclip.files import shown

logger = logging.getLogger(__name__)


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`, whose folder exists.

    Args:
        path: the lock file.
        what: the message if another process holds it.

    Raises:
        ConfigError: one does.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(what) from None
    except (OSError, NotImplementedError) as error:  # some network disks know no locks
        logger.warning("%s: cannot be locked (%s): start nothing else there", shown(path), error)
        yield
        return
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file `path`."""
    if not path.exists():
        return False
    try:
        with held(path, ""):
            return False
    except ConfigError:
        return True
