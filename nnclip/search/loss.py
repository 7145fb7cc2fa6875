"""Images of a collection that are gone: a few every day, or so many that a disk may be away."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnclip.files import shown, to_path
from nnclip.search.roots import is_below

logger = logging.getLogger(__name__)

FEW = 0.05  # share of a collection that may go without a question; one image always may
LISTED = 20  # folders that are named


@dataclass(frozen=True)
class Loss:
    """More images than go on a usual day: a whole folder, or more than a few per cent.

    Attributes:
        images: how many are gone.
        total: how many the collection has.
        folders: folders (or tar files) with images that are gone: name, how many, and why.
    """

    images: int
    total: int
    folders: tuple[tuple[str, int, str], ...]

    def lines(self) -> list[str]:
        """What to tell a user, a sentence and the folders."""
        head = f"{self.images:,} of {self.total:,} images are not found any more:"
        lines = [f"  {shown(name)}: {count:,}, {why}" for name, count, why in self.folders[:LISTED]]
        if len(self.folders) > LISTED:
            lines.append(f"  and {len(self.folders) - LISTED:,} more folders")
        return [head, *lines]


Permit = Callable[[Loss], bool]  # whether these images are to be removed


def keep(loss: Loss) -> bool:
    """A `Permit` that reports what is gone and keeps it."""
    for line in [*loss.lines(), "they are kept: permit it if they are to be removed"]:
        logger.warning("%s", line)
    return False


def loss_of(
    names: Sequence[str],
    known: Mapping[str, Mapping[str, Any]],
    sources: Sequence[str],
    there: Collection[str] = (),
) -> Loss | None:
    """What is gone, if that is more than usual; None if not.

    Args:
        names: of the images that are gone.
        known: record of each image of the collection, by name.
        sources: names of what the collection follows: folders above them do not count.
        there: names of all images that there are now.
    """
    lost = set(names)
    homes = Counter(_home(name, known[name]) for name in names)
    others = Counter(_home(name, known.get(name, {})) for name in {*known, *there} - lost)
    gone, left = _with_above(homes, sources), _with_above(others, sources)
    whole = {folder for folder in gone if not left[folder]}
    if not whole and len(names) <= max(1, FEW * len(known)):
        return None
    topmost = [
        (name, gone[name], _why(name)) for name in whole if os.path.dirname(name) not in whole
    ]
    partly = [(name, n, "others are there") for name, n in homes.items() if name not in whole]
    return Loss(len(names), len(known), tuple(sorted(topmost) + sorted(partly)))


def _home(name: str, record: Mapping[str, Any]) -> str:
    """The folder or tar file of an image."""
    return str(record["path"]) if record.get("size", -1) >= 0 else os.path.dirname(name)


def _with_above(counts: Mapping[str, int], sources: Sequence[str]) -> Counter[str]:
    """Counts of folders, and of those above them up to a source, with all that is in them."""
    found: Counter[str] = Counter()
    for folder, count in counts.items():
        found[folder] += count
        above = os.path.dirname(folder)
        while folder not in sources and above != folder and any(below(it)(above) for it in sources):
            found[above] += count
            folder, above = above, os.path.dirname(above)
    return found


def below(folder: str) -> Callable[[str], bool]:
    """Whether a name is that of a folder, tar file or image, or lies in it."""
    return lambda name: is_below(name, folder)


def _why(name: str) -> str:
    folder = to_path(name)
    if not os.path.lexists(folder):
        return "it is not there"
    try:
        empty = os.path.isdir(folder) and not os.listdir(folder)
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return "it is empty: is a disk not mounted?" if empty else "none of its images is there"
