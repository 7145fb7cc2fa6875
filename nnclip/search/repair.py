"""Makes the damaged files of a collection again, from what the others and the images hold."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from nnclip.checksums import checksum
from nnclip.errors import DataError
from nnclip.search.embed import embed_shards
from nnclip.search.index import check_index, read_card, remove_index
from nnclip.search.lock import locked
from nnclip.search.log import ACKNOWLEDGED, Entry, Log
from nnclip.search.log import FILE as LOG
from nnclip.search.manifest import FILE as MANIFEST
from nnclip.search.manifest import Manifest, Model, manifest_from, read_manifest, write_manifest
from nnclip.search.shards import (
    PLAN,
    check_shard,
    has_shard,
    item_of,
    read_plan,
    read_vectors,
    write_plan,
)


def repair(folder: Path, load: Callable[[str], Model], workers: int = 1) -> list[str]:
    """Make every damaged file of a collection again.

    Args:
        folder: of the collection.
        load: gives the model of a name, "" for the bundled one; called if shards are damaged.
        workers: processes that decode images.

    Returns:
        A sentence for each file that was damaged.

    Raises:
        DataError: a file cannot be made again; those before it were.
        ConfigError: the model is not the one that embedded the collection.
    """
    if not any((folder / name).exists() for name in (MANIFEST, PLAN)):
        read_manifest(folder)  # no collection: says so
    with locked(folder):
        manifest, done = _manifest(folder)
        manifest, said = _plan(folder, manifest)
        done += said + _shards(folder, manifest, load, workers)
        return done + _log(folder, manifest) + _index(folder)


def _manifest(folder: Path) -> tuple[Manifest, list[str]]:
    try:
        return read_manifest(folder), []
    except DataError as error:
        _, head = read_plan(folder)
        try:
            manifest = manifest_from({**head, "plan": checksum((folder / PLAN).read_bytes())})
        except ValueError:
            raise DataError(
                f"{folder / PLAN}: found no copy of the manifest in it, expected one: restore "
                f"{MANIFEST} from a copy, or embed the images into another folder"
            ) from error
        write_manifest(folder, manifest)
        return manifest, [f"{folder / MANIFEST}: made again from {PLAN}"]


def _plan(folder: Path, manifest: Manifest) -> tuple[Manifest, list[str]]:
    try:
        read_plan(folder, manifest.plan)
        return manifest, []
    except DataError as error:
        try:
            tables = [check_shard(folder, n, manifest) for n in range(manifest.shards)]
        except DataError as damaged:
            raise DataError(
                f"{folder / PLAN}: is damaged, and so is a shard ({damaged}): embed the images "
                "into another folder"
            ) from error
        items = [item_of(record) for table in tables for record in table.to_pylist()]
        made = replace(manifest, plan=write_plan(folder, items, asdict(manifest)))
        write_manifest(folder, made)
        return made, [f"{folder / PLAN}: made again from the shards"]


def _shards(
    folder: Path, manifest: Manifest, load: Callable[[str], Model], workers: int
) -> list[str]:
    said = []
    for number in range(manifest.shards):
        if not has_shard(folder, number):
            said.append(f"{folder}/shards/{number:05d}: was missing and is embedded")
            continue
        try:
            check_shard(folder, number, manifest)
        except DataError as error:
            said.append(f"{str(error).split(';')[0]}: embedded again")
    if said:
        model = load(manifest.model)
        manifest.check_model(model)
        embed_shards(folder, model, workers=workers)
    return said


def _log(folder: Path, manifest: Manifest) -> list[str]:
    """Keep the entries that are whole; the damaged file stays beside the log."""
    log = Log(folder / LOG, manifest.embed, manifest.dtype)
    try:
        for _ in log.read():
            pass
        return []
    except DataError:
        pass
    kept = next(folder / f"{LOG}.damaged-{n}" for n in range(1, 1000) if not _taken(folder, n))
    if log.path.exists():
        shutil.copy2(log.path, kept)
    made = Log(folder / f".{LOG}.repaired", manifest.embed, manifest.dtype)
    made.path.unlink(missing_ok=True)
    made.path.touch()
    count = 0
    for entry in _renumbered(log.whole_entries(), _shard_rows(folder, manifest)):
        made.append(entry)
        count += 1
    (folder / ACKNOWLEDGED).unlink(missing_ok=True)
    os.replace(made.path, log.path)
    remove_index(folder)
    return [
        f"{log.path}: {count:,} entries were whole and are kept, the damaged file is {kept.name}. "
        "Images that a lost entry removed may be back. `nnclip update` does again what "
        "the lost entries did, `nnclip index` builds an index if there was one"
    ]


def _taken(folder: Path, number: int) -> bool:
    return (folder / f"{LOG}.damaged-{number}").exists()


def _shard_rows(folder: Path, manifest: Manifest) -> int:
    return sum(len(read_vectors(folder, n, manifest)[0]) for n in range(manifest.shards))


def _renumbered(entries: Iterator[tuple[Entry, bool]], base: int) -> Iterator[Entry]:
    """Entries whose rows are counted without the lost ones; `base` rows lie in shards.

    Entries of format 1 do not say which numbers their rows had: behind a lost one, what they remove
    is told by names.
    """
    new, old, certain = base, base, True
    now: dict[int, int] = {}  # number of an added row -> its number from now on
    names: dict[str, int] = {}  # of added rows
    for entry, adjoins in entries:
        certain = entry.first is not None or (certain and adjoins)
        old = old if entry.first is None else entry.first
        removed = {row for row in entry.removed if row < base}
        if certain:
            removed |= {now[row] for row in entry.removed if row in now}
        else:
            gone = [*entry.banned, *(record["image"] for record in entry.records)]
            removed |= {names[name] for name in gone if name in names}
        for i, record in enumerate(entry.records):
            now[old + i] = names[record["image"]] = new + i
        yield replace(entry, removed=sorted(removed), first=new)
        old, new = old + len(entry.records), new + len(entry.records)


def _index(folder: Path) -> list[str]:
    try:
        card = read_card(folder)
        if card is not None and card.file:
            check_index(folder, card, card.rows)
        return []
    except DataError as error:
        remove_index(folder)
        return [f"{str(error).split(';')[0]}: removed; `nnclip index` builds it again"]
