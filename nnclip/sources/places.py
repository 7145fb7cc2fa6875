"""Where the images of a table are: names as people write them -> paths."""

import os
import re
from pathlib import Path

from nnclip.files import to_path
from nnclip.sources.rows import NUMBERED

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def expanded(source: str) -> list[Path]:
    """The files that a pattern such as `x-{000..009}.tar` stands for."""
    match = _BRACES.search(source)
    if match is None:
        return [Path(source)]
    first, last = match.groups()
    numbers = range(int(first), int(last) + 1)
    return [Path(source.replace(match[0], str(n).zfill(len(first)))) for n in numbers]


class Places:
    """Turns names into paths.

    A name is relative to the root: the one that is given, the table's folder, or the current one
    where the first image is there. Where no file of a name is there, backslashes are slashes, and
    the number of a caption behind the name (`1000.jpg#0`) is none of it.

    Attributes:
        told: what was changed in names, for people.
    """

    def __init__(self, table: Path, root: str) -> None:
        self._roots = [root] if root else [str(table.parent), ""]
        self.told: list[str] = []

    def __call__(self, name: str) -> str:
        """The path of a name."""
        if len(self._roots) > 1:
            self._roots = [next((r for r in self._roots if self._there(r, name)), self._roots[0])]
        root = self._roots[0]
        path = _joined(root, name)
        if ("\\" in name or ("#" in name and NUMBERED.search(name))) and not os.path.exists(path):
            return self._rewritten(root, name) or path
        return path

    def _there(self, root: str, name: str) -> bool:
        return os.path.exists(_joined(root, name)) or self._rewritten(root, name) is not None

    def _rewritten(self, root: str, name: str) -> str | None:
        """The path of a file that is there, if the name is read in another way."""
        for other, told in (
            (NUMBERED.sub("", name), "the number behind a name is none of it"),
            (name.replace("\\", "/"), "backslashes in paths are slashes"),
        ):
            path = _joined(root, other)
            if other != name and os.path.exists(path):
                if told not in self.told:
                    self.told.append(told)
                return path
        return None


def _joined(root: str, name: str) -> str:
    """The path of a name; as `Path` writes it, at a fraction of its price."""
    path = os.path.join(root, to_path(name))
    return str(Path(path)) if "./" in path or "//" in path or path[-1:] == "/" else path
