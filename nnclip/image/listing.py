"""The image files of a folder, and a count of all that is passed over."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from nnclip.files import shown
from nnclip.image.formats import MACOS_START, hint, image_suffixes, is_image_file
from nnclip.image.skips import Skips

logger = logging.getLogger(__name__)

NO_SUFFIX, LINKED, CLOSED = "without a suffix", "linked folder", "unreadable folder"
MACOS = "._ files of macOS"  # what it keeps beside files on foreign disks


class NotRead(Counter[str]):
    """What a listing passed over: suffix -> how many files.

    The keys NO_SUFFIX, LINKED (folders behind links, which are not entered), CLOSED (folders that
    cannot be read) and MACOS count what has no suffix that tells.

    Attributes:
        closed: the paths of the folders that cannot be read.
        linked: the paths of the folders behind links.
        first: key of damaged files -> name of the first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.closed: list[str] = []
        self.linked: list[str] = []
        self.first: dict[str, str] = {}

    def add(self, other: "NotRead") -> None:
        """Count what another listing passed over, too."""
        self.update(other)
        self.closed += other.closed
        self.linked += other.linked
        self.first = other.first | self.first

    def file(self, name: str) -> None:
        """Count a file of this name."""
        name = PurePath(name).name
        own = name.startswith(MACOS_START)
        self[MACOS if own else shown(PurePath(name).suffix.lower()) or NO_SUFFIX] += 1

    def damaged(self, name: str) -> None:
        """Count a file that belongs to the data and cannot be read."""
        kind = f"damaged {shown(PurePath(name).suffix.lower())}"
        self[kind] += 1
        self.first.setdefault(kind, name)

    def skipped(self, pattern: str) -> None:
        """Count a file or folder that a pattern leaves out."""
        self[f"skipped by {shown(pattern)}"] += 1

    def folder(self, path: str, error: OSError) -> None:
        """Count a folder that cannot be read, and say so."""
        logger.warning("%s: cannot be read (%s)", shown(path), error.strerror or error)
        self[CLOSED] += 1
        self.closed.append(path)

    def link(self, path: str) -> None:
        """Count a folder behind a link, and say so."""
        logger.warning("%s: a link to a folder, not entered; name it as a source", shown(path))
        self[LINKED] += 1
        self.linked.append(path)

    def __str__(self) -> str:
        """`41 .heic, 3 .mp4 not read`; "" if nothing was passed over."""
        if not self:
            return ""
        order = sorted(self.items(), key=lambda item: (-item[1], item[0]))
        named = {kind: f" ({shown(name)})" for kind, name in self.first.items()}
        return (
            ", ".join(f"{count:,} {kind}{named.get(kind, '')}" for kind, count in order)
            + " not read"
        )

    @property
    def told(self) -> str:
        """The same, and what makes more of it readable."""
        return "; ".join(filter(None, [str(self), hint(self)]))


def files_below(
    folder: str | Path, not_read: NotRead, exclude: Sequence[str] | None = None
) -> Iterator[os.DirEntry[str]]:
    """Everything in a folder and below, in the order of the paths' parts; folders, too.

    Folders behind links are not entered: they may lead in a circle.

    Args:
        folder: where to look.
        not_read: counts what is passed over.
        exclude: patterns of what is left out, see `nnclip.image.skips`; ignore files count, too.
            None: nothing is left out.

    Raises:
        DataError: an ignore file cannot be read.
    """
    top = str(folder)
    skips = None if exclude is None else Skips.of(exclude).within(top, "")
    waiting = [(_entries(top, not_read), "", skips)]
    while waiting:
        entries, above, skips = waiting[-1]
        entry = next(entries, None)
        if entry is None:
            waiting.pop()
            continue
        inside, is_folder = above + entry.name, entry.is_dir(follow_symlinks=False)
        if skips is not None and (pattern := skips.pattern(inside, is_folder)):
            not_read.skipped(pattern)
            continue
        yield entry
        if is_folder:
            here = None if skips is None else skips.within(entry.path, inside)
            waiting.append((_entries(entry.path, not_read), f"{inside}/", here))
        elif entry.is_symlink() and os.path.isdir(entry.path):
            not_read.link(entry.path)


def _entries(folder: str, not_read: NotRead) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return iter(sorted(entries, key=lambda entry: entry.name))
    except OSError as error:
        not_read.folder(folder, error)
        return iter(())


def image_files(folder: str | Path, not_read: NotRead | None = None) -> list[Path]:
    """All that is named like an image in a folder and below, sorted.

    Whether it is a regular file turns out when it is opened.

    Args:
        folder: where to look.
        not_read: counts the other files.
    """
    not_read = NotRead() if not_read is None else not_read
    suffixes, found = image_suffixes(), []
    for entry in files_below(folder, not_read):
        if is_image_file(entry.path, suffixes):
            found.append(Path(entry.path))
        elif not entry.is_dir():
            not_read.file(entry.name)
    return found


picture_files = image_files  # its name before
