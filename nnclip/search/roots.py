"""Names of images relative to the folders they lie in, which may move.

A stored name is absolute, or begins with the name of a root: `photos/2019/a.jpg` is
`/mnt/disk/photos/2019/a.jpg` while the root `photos` is `/mnt/disk/photos`.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from nnclip.files import to_name

_NAMES = ("image", "path")  # fields of a record that are names


@dataclass(frozen=True)
class Roots:
    """Folders by name.

    Attributes:
        folders: name of a root -> name of the folder that it is now, see `nnclip.files`.
    """

    folders: Mapping[str, str] = field(default_factory=dict)

    def stored(self, name: str) -> str:
        """How an absolute name is kept: relative to the innermost root that holds it."""
        best = ""
        for root, folder in self.folders.items():
            if is_below(name, folder) and len(folder) > len(self.folders.get(best, "")):
                best = root
        return best + name[len(self.folders[best]) :] if best else name

    def current(self, stored: str) -> str:
        """The absolute name of a stored one."""
        root, _, rest = stored.partition("/")
        folder = self.folders.get(root)
        if folder is None or os.path.isabs(stored):
            return stored
        return f"{folder}/{rest}" if rest else folder

    def stored_record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A record whose names are stored ones."""
        return _renamed(record, self.stored)

    def current_record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A record whose names are absolute."""
        return _renamed(record, self.current)

    def including(self, sources: Iterable[str]) -> "Roots":
        """These, and the folders of some sources (absolute paths) that lie in none of them."""
        folders = dict(self.folders)
        for source in sources:
            folder = to_name(source if os.path.isdir(source) else os.path.dirname(source))
            inside = any(is_below(folder, there) for there in folders.values())
            if not inside and os.path.dirname(folder) != folder:  # no root is the whole disk
                folders[_free(PurePath(folder).name, folders)] = folder
        return Roots(folders)

    def moved(self, old: str, new: str) -> "Roots":
        """These, with the roots at a folder or below it at another one."""
        return Roots({root: moved_name(it, old, new) for root, it in self.folders.items()})


NO_ROOTS = Roots()


def is_below(name: str, folder: str) -> bool:
    """Whether a name is that of a folder, or lies in it."""
    return name == folder or name.startswith(folder.rstrip("/") + "/")


def moved_name(name: str, old: str, new: str) -> str:
    """A name where what lies below one folder lies below another one."""
    inside = name[len(old) :].lstrip("/")
    if not is_below(name, old):
        return name
    return f"{new.rstrip('/')}/{inside}" if inside else new


def _renamed(record: Mapping[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    return {**record, **{key: rename(record[key]) for key in _NAMES if key in record}}


def _free(name: str, taken: Mapping[str, str]) -> str:
    """A name that no root has yet: `photos`, `photos-2`, ..."""
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(it for it in numbered if it not in taken)
