"""What can be found out before the work begins: outputs, disk, packages. Nothing stays behind."""

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

from nnclip.errors import ConfigError, DataError
from nnclip.extras import EXTRAS, how
from nnclip.files import open_regular, shown

GB = 10**9


def check_folder(path: str | Path, flag: str) -> None:
    """Make sure that a folder can be made or written to.

    Args:
        path: the folder; it may not exist yet.
        flag: that named it, for the message.

    Raises:
        ConfigError: something else has its name, or it cannot be written to.
    """
    path = Path(path)
    if os.path.lexists(path) and not path.is_dir():
        raise ConfigError(
            f"{flag} {shown(path)}: found a file, expected a folder; choose another name"
        )
    _check_writable(path, flag)


def check_file(path: str | Path, flag: str, replace: bool = True) -> None:
    """Make sure that a file can be written.

    Args:
        path: the file; it may not exist yet, nor its folder.
        flag: that named it, for the message.
        replace: one that is there may be replaced.

    Raises:
        ConfigError: it is a folder, cannot be written, or is there and must stay.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(
            f"{flag} {shown(path)}: found a folder, expected the name of a file; add one, such as "
            f"{shown(path / 'NAME')}"
        )
    if os.path.lexists(path):
        if not path.is_file():
            raise ConfigError(f"{flag} {shown(path)}: found no regular file; choose another name")
        if not replace:
            raise ConfigError(
                f"{flag} {shown(path)}: found a file, expected none; choose another name, or "
                "--overwrite it"
            )
    _check_writable(path.parent, flag)


def _check_writable(folder: Path, flag: str) -> None:
    """Make and remove a file in the folder, or in the nearest one above it that exists."""
    there = existing(folder)
    if not there.is_dir():
        raise ConfigError(f"{flag}: found the file {shown(there)}, expected a folder there")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ConfigError(
            f"{flag}: {shown(there)} cannot be written to ({error.strerror}); choose another place"
        ) from error


def existing(path: Path) -> Path:
    """The path, or the nearest one above it that exists."""
    path = Path(os.path.abspath(path))
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def check_room(path: str | Path, size: int, what: str, flag: str) -> None:
    """ConfigError unless the disk of `path` has room for `size` bytes, needed for `what`."""
    free = room(path)
    if free < size:
        raise ConfigError(
            f"{flag}: found room for {free / GB:.3f} GB at {shown(path)}, expected {size / GB:.3f} "
            f"GB for {what}; free some space or choose another disk"
        )


def room(path: str | Path) -> int:
    """Bytes that this process may write to one file at `path`, which need not exist yet."""
    free = shutil.disk_usage(existing(Path(path))).free
    try:
        import resource
    except ImportError:  # Windows
        return free
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return free if limit == resource.RLIM_INFINITY else min(free, limit)


def spoken_time(seconds: float) -> str:
    """`3.2 hours`: how long something takes, in the largest unit that it fills."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def check_packages(*names: str) -> None:
    """ConfigError that names the extra of the first package that is not installed."""
    for name in names:
        if sys.modules.get(name, name) is None or importlib.util.find_spec(name) is None:
            raise ConfigError(f"this needs {name}, which is not installed; {how(EXTRAS[name])}")


def check_readable(path: str | Path, flag: str) -> None:
    """DataError unless a regular file can be opened."""
    try:
        open_regular(path).close()
    except OSError as error:
        raise DataError(
            f"{flag} {shown(path)}: cannot be read ({error.strerror}); check the path"
        ) from error
    except ValueError as error:
        raise DataError(f"{flag} {shown(path)}: cannot be read ({error})") from error
