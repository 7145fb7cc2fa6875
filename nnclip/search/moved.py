"""Images that a collection knows under another name: nothing is computed for them again.

Their content tells: its digest stands in their records. A folder that moved as a whole is told by
some of its images, and gets its new place; other images are stored again under their new names,
with the embeddings that they have.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from nnclip.errors import DataError
from nnclip.files import shown, to_name, to_path
from nnclip.image.facts import facts_of
from nnclip.search.feed import content_digest
from nnclip.search.log import Entry
from nnclip.search.roots import is_below, moved_name
from nnclip.search.rows import gather
from nnclip.search.shards import item_of
from nnclip.search.sources import Item
from nnclip.search.store import FolderStore, LastingStore

logger = logging.getLogger(__name__)

TRIED = 32  # images of a folder whose content is compared before it counts as moved
AT_ONCE = 4096  # images that are stored again in one entry

Known = dict[str, tuple[int, dict[str, Any]]]  # name -> row and record


@dataclass(frozen=True)
class Relocated:
    """What a relocation did.

    Attributes:
        images: that lie below the new folder from now on.
        twice: of these, that were there under their new name already; one of each is left.
        missing: of these, whose file is not at the new place.
    """

    images: int
    twice: int = 0
    missing: int = 0


@dataclass(frozen=True)
class _Move:
    """An embedding that is stored again: its name and row, the new record, whether it leaves."""

    name: str
    row: int
    record: dict[str, Any]
    leaves: bool


def known_images(store: LastingStore) -> Known:
    """Row and record of every image, by name."""
    return {record["image"]: (row, record) for row, record in store.live()}


def relocate(store: LastingStore, old: str, new: str) -> Relocated:
    """Say that what lay below one folder lies below another one now; nothing is computed.

    Args:
        store: the collection.
        old: name of a folder, tar file or image, as it was.
        new: its name now.

    Raises:
        DataError: nothing of the collection lies below `old`, or none of its images below `new`.
    """
    with store.changing(whole=old not in store.roots.folders.values()):
        known = known_images(store)
        below = {name: it for name, it in known.items() if is_below(name, old)}
        if not below:
            folders = ", ".join(shown(it) for it in store.sources) or "nothing"
            raise DataError(
                f"{shown(old)}: found no image of the collection below it, expected part of "
                f"{folders}; nothing was changed"
            )
        there = {name: _item_below(it, old, new) for name, (_, it) in below.items()}
        present = [name for name, item in there.items() if os.path.isfile(to_path(item.path))]
        if not any(_is_of(there[name], below[name][1]) for name in _drawn(present)):
            raise DataError(
                f"{shown(new)}: found none of the {len(below):,} images that lay below "
                f"{shown(old)}, expected the same files there; nothing was changed"
            )
        twice = _rename(store, old, new, known, below)
    return Relocated(len(below) - twice, twice, len(below) - len(present))


def follow_roots(store: LastingStore, sources: Sequence[str], known: Known) -> int:
    """Let roots that are gone follow their images into sources that are new.

    Args:
        store: the collection, held.
        sources: absolute paths.
        known: images by name; those that follow are renamed in it, too.

    Returns:
        How many images followed.
    """
    followed = 0
    for folder in list(store.roots.folders.values()):
        below = {name: it for name, it in known.items() if is_below(name, folder)}
        if not below or _has_files(to_path(folder)):
            continue
        drawn = [below[name][1] for name in _drawn(list(below))]
        for new in map(to_name, filter(os.path.isdir, sources)):
            found = sum(_is_of(_item_below(record, folder, new), record) for record in drawn)
            if 2 * found > len(drawn) and new not in store.roots.folders.values():
                _rename(store, folder, new, known, below)
                known.clear()
                known.update(known_images(store))
                followed += len(below)
                break
    return followed


def beside(store: LastingStore) -> list[str]:
    """Where roots are if they moved together with the collection, as on one disk: paths."""
    made_at = store.manifest.place
    if not made_at or not isinstance(store, FolderStore) or os.path.isdir(to_path(made_at)):
        return []
    folders = (os.path.relpath(it, made_at) for it in store.manifest.roots.values())
    return [os.path.abspath(os.path.join(store.path, to_path(it))) for it in folders]


def _rename(store: LastingStore, old: str, new: str, known: Known, below: Known) -> int:
    """Give images their new names; how many had them already, whose old ones leave."""
    twice = {row for name, (row, _) in below.items() if moved_name(name, old, new) in known}
    before, roots = store.roots, store.roots.moved(old, new)
    moved = {to_path(moved_name(to_name(source), old, new)): None for source in store.sources}
    banned = [moved_name(name, old, new) for name in store.banned if is_below(name, old)]
    folders = None if roots == before else roots.folders
    store.append(Entry(removed=sorted(twice), sources=list(moved), banned=banned, roots=folders))
    moves = [
        _Move(name, row, {**record, **vars(_item_below(record, old, new))}, True)
        for name, (row, record) in below.items()
        if row not in twice and roots.current(before.stored(name)) == name
    ]
    _store_again(store, moves)
    return len(twice)


def find_again(store: LastingStore, items: Sequence[Item], known: Known) -> tuple[int, int]:
    """Store images again whose content the collection knows under another name.

    Args:
        store: the collection, held.
        items: all that are there now.
        known: images by name; those that follow are renamed in it, too.

    Returns:
        How many moved, and how many are copies of images that are still there.
    """
    by_length: dict[int, dict[str, list[str]]] = {}
    for name, (_, record) in known.items():
        if record["digest"]:
            by_length.setdefault(record["bytes"], {}).setdefault(record["digest"], []).append(name)
    there, moves, taken = {item.image for item in items}, list[_Move](), set[str]()
    for item in items:
        digests = None if item.image in known else by_length.get(_length(item))
        alike = digests.get(_digest(item), []) if digests else []
        if not alike:
            continue
        gone = [it for it in alike if it not in there | taken and _is_gone(known[it][1])]
        name = gone[0] if gone else alike[0]
        taken |= set(gone[:1])
        row, record = known[name]
        made = {**record, **vars(item), "changed": _changed(item)}
        moves.append(_Move(name, row, made, bool(gone)))
    for move, row in zip(moves, _store_again(store, moves), strict=True):
        if move.leaves:
            del known[move.name]
        known[move.record["image"]] = (row, move.record)
    moved = sum(move.leaves for move in moves)
    return moved, len(moves) - moved


def add_facts(store: LastingStore) -> int:
    """Tell in records of earlier versions what the files say besides pixels; how many now do.

    Their embeddings are stored again under these records; a file that has changed is left alone.
    """
    with store.changing():
        moves = []
        for name, (row, record) in known_images(store).items():
            if record.get("width") is not None:
                continue
            try:
                content, _ = item_of(record).read()
            except DataError as error:
                logger.warning("%s", error)
                continue
            if content_digest(content) == record["digest"]:
                moves.append(_Move(name, row, {**record, **asdict(facts_of(content))}, True))
        return len(_store_again(store, moves))


def _store_again(store: LastingStore, moves: Sequence[_Move]) -> list[int]:
    """The rows that embeddings have from now on."""
    found = list[int]()
    blocks = store.vectors()[0] if moves else []
    for start in range(0, len(moves), AT_ONCE):
        part = moves[start : start + AT_ONCE]
        rows_NE = gather(blocks, np.array([move.row for move in part], np.int64))
        leaving = sorted(move.row for move in part if move.leaves)
        found += store.append(Entry([move.record for move in part], rows_NE, leaving))
    return found


def _item_below(record: Mapping[str, Any], old: str, new: str) -> Item:
    """The image of a record as it lies below another folder."""
    item = item_of(dict(record))
    image, path = moved_name(item.image, old, new), moved_name(item.path, old, new)
    return replace(item, image=image, path=path)


def _is_of(item: Item, record: Mapping[str, Any]) -> bool:
    """Whether the image that is there is the one of a record."""
    return _length(item) == record["bytes"] and _digest(item) == record["digest"] != ""


def _drawn(names: Sequence[str]) -> Sequence[str]:
    """Some of the names, evenly spaced."""
    return names[:: max(1, len(names) // TRIED)]


def _has_files(folder: str) -> bool:
    return any(files for _, _, files in os.walk(folder))


def _is_gone(record: Mapping[str, Any]) -> bool:
    return not os.path.lexists(to_path(record["path"]))


def _length(item: Item) -> int:
    """Bytes of an image; -1 if there is none."""
    try:
        return item.size if item.size >= 0 else os.stat(to_path(item.path)).st_size
    except (OSError, ValueError):
        return -1


def _changed(item: Item) -> int:
    try:
        return os.stat(to_path(item.path)).st_mtime_ns
    except OSError:
        return 0


def _digest(item: Item) -> str:
    """Of the content; "" if it cannot be read."""
    try:
        return content_digest(item.read()[0])
    except DataError:
        return ""
