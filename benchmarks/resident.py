"""Memory of this process, as Linux counts it."""

from __future__ import annotations

import threading
from pathlib import Path


def memory() -> dict[str, int]:
    """Bytes of this process: its own, pages of mapped files, both now, and the most there were."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    wanted = {"own": "RssAnon", "files": "RssFile", "now": "VmRSS", "peak": "VmHWM"}
    return {name: 1024 * int(fields[key].split()[0]) for name, key in wanted.items()}


class Watch:
    """The most bytes of its own that this process has inside the block, without pages of files."""

    def __enter__(self) -> Watch:
        self.most, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.2):
            self.most = max(self.most, memory()["own"])

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
