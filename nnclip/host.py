"""What this machine lends to the process; each system tells it in its own way."""

import os
import signal
import sys
from pathlib import Path

UNKNOWN = 4 << 30  # bytes: what is taken for free where the system does not tell


def cores() -> int:
    """The cores that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory() -> int:
    """Bytes that a process may take without anything being swapped out."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return UNKNOWN
    found = next(line.split()[1] for line in lines if line.startswith("MemAvailable"))
    return int(found) * 1024


def signals(*names: str) -> tuple[signal.Signals, ...]:
    """Those of the named signals that this system has."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


def peak_memory() -> int:
    """The most bytes of memory that this process has held at once; 0 where nobody counts."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024
