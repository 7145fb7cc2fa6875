"""A collection follows its images: new ones added, changed ones embedded again, gone ones removed.

Every change is acknowledged by the store before the next one begins, so a crash loses none.
"""

import logging
import os
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from nnclip.errors import DataError
from nnclip.files import shown, to_name, to_path
from nnclip.image import NotRead
from nnclip.image.skips import checked_patterns
from nnclip.search.embed import BATCH, batches, embed_decoded, progress
from nnclip.search.feed import Feed, content_digest
from nnclip.search.log import Entry
from nnclip.search.loss import Permit, below, keep, loss_of
from nnclip.search.manifest import Model
from nnclip.search.moved import Known, beside, find_again, follow_roots, known_images
from nnclip.search.outcome import Changes, total
from nnclip.search.shards import record_of
from nnclip.search.sources import Item, list_items, listed
from nnclip.search.store import FolderStore, LastingStore

logger = logging.getLogger(__name__)

CHUNK = 32 * BATCH  # images that are added at once


def add(
    store: LastingStore,
    model: Model,
    sources: Sequence[str],
    workers: int = 1,
    share: slice | None = None,
    exclude: Sequence[str] = (),
) -> Changes:
    """Add the images of more sources, which `update` follows from now on.

    Those that are there already are embedded again only if they have changed; those that are there
    under another name keep their embeddings.

    Args:
        store: where to.
        model: the one that embedded what is there.
        sources: see `list_items`.
        workers: processes that decode images.
        exclude: patterns of what sources leave out from now on, besides those that hold.
        share: of the images, what this process adds; others add the rest, while one of them holds
            the store. None for all, by a process that holds the store meanwhile.

    Raises:
        DataError: a source does not exist or holds no image; the store cannot be written.
        ConfigError: another model than the one that embedded the collection.
    """
    store.manifest.check_model(model)
    _say_how_read(store)
    absolute = [os.path.abspath(source) for source in sources]
    not_read = NotRead()
    with store.changing() if share is None else nullcontext():
        patterns = _leave_out(store, exclude)
        items = list_items(absolute, store.manifest.column, not_read, patterns)
        items, known = items[share or slice(None)], known_images(store)
        moved = _follow(store, absolute, known)
        changes, damaged = _bring(store, model, items, known, workers)
        gone = _remove_lost(store, damaged, known, keep)
    first = share is None or not share.start  # the others have listed the same
    return total([moved, changes, gone, Changes(not_read=dict(not_read) if first else {})])


def add_new(
    store: FolderStore,
    model: Model,
    sources: Sequence[str],
    workers: int,
    exclude: Sequence[str] = (),
) -> Changes:
    """Embed what is new or has changed in sources; nothing is removed.

    Args:
        store: the collection, which the caller holds.
        model: the one that embedded what is there.
        sources: old ones and new ones, which `update` follows from now on; none for all old ones.
        workers: processes that decode images.
        exclude: as for `add`.

    Returns:
        What happened; `kept` counts the images that are gone.

    Raises:
        DataError: a new source does not exist or holds no image.
    """
    _say_how_read(store)
    absolute, not_read = [os.path.abspath(source) for source in sources], NotRead()
    known, failed, banned = known_images(store), store.failed_records(), store.banned
    patterns, column = _leave_out(store, exclude), store.manifest.column
    new = [source for source in absolute if source not in store.sources]
    items = {item.image: item for item in list_items(new, column, not_read, patterns)}
    moved = _follow(store, absolute, known)
    old = [it for it in store.sources if it not in new and (not absolute or it in absolute)]
    for item in listed(old, column, known, not_read, patterns):
        items.setdefault(item.image, item)
    wanted = [
        item
        for item in items.values()
        if item.image not in banned
        and not (item.image in failed and not changed(item, failed[item.image]))
    ]
    done, damaged = _bring(store, model, wanted, known, workers)
    looked = [below(to_name(source)) for source in [*old, *new]]
    gone = [name for name in known if name not in items and any(it(name) for it in looked)]
    kept = len(gone) + len(damaged)
    return total([moved, done, Changes(kept=kept, not_read=dict(not_read))])


def _follow(store: LastingStore, sources: Sequence[str], known: Known) -> Changes:
    """Let `update` follow more sources, which may hold what was elsewhere before."""
    moved = follow_roots(store, [*sources, *beside(store)], known)
    followed = list(dict.fromkeys([*store.sources, *sources]))
    if followed != store.sources:
        roots = store.roots.including(sources) if store.manifest.format > 2 else store.roots
        folders = None if roots == store.roots else roots.folders
        store.append(Entry(sources=followed, roots=folders))
    return Changes(moved=moved)


def _leave_out(store: LastingStore, more: Sequence[str]) -> tuple[str, ...] | None:
    """The patterns that hold in a collection once more of them do."""
    new = [it for it in checked_patterns(more) if it not in (store.exclude or ())]
    if new:
        store.append(Entry(exclude=[*(store.exclude or ()), *new]))
    return store.exclude


def update(store: LastingStore, model: Model, workers: int = 1, permit: Permit = keep) -> Changes:
    """Look through all sources again.

    Args:
        store: the collection.
        model: the one that embedded what is there.
        workers: processes that decode images.
        permit: asked when more images are gone than usual, see `Loss`; if it says no, they are
            kept. `keep` says so and no.

    Raises:
        DataError: a source is not there at all (is a disk not mounted?): nothing is removed for
            that; `remove` it if it is meant.
        ConfigError: another model than the one that embedded the collection.
    """
    store.manifest.check_model(model)
    _say_how_read(store)
    with store.changing():
        known, not_read, banned = known_images(store), NotRead(), store.banned
        followed = follow_roots(store, beside(store), known)
        items = listed(store.sources, store.manifest.column, known, not_read, store.exclude)
        wanted = [item for item in items if item.image not in banned]
        moved = _find_again(store, wanted, known)
        names = {item.image for item in wanted}
        vanished = [name for name in known if name not in names]
        gone = _remove_lost(store, vanished, known, permit, names)
        changes, damaged = _bring(store, model, wanted, known, workers)
        spoilt = _remove_lost(store, damaged, known, permit)
    changes = replace(changes, unchanged=changes.unchanged - moved.moved - moved.copied)
    found = Changes(moved=followed, not_read=dict(not_read))
    return total([moved, gone, changes, spoilt, found])


def _remove_lost(
    store: LastingStore,
    names: Sequence[str],
    known: Known,
    permit: Permit,
    there: Collection[str] = (),
) -> Changes:
    """Remove images that are gone, if they are few or it is permitted."""
    if not names:
        return Changes()
    paths = {name: record for name, (_, record) in known.items()}
    loss = loss_of(names, paths, [to_name(it) for it in store.sources], there)
    if loss is not None and not permit(loss):
        return Changes(kept=len(names))
    store.append(Entry(removed=sorted(known[name][0] for name in names)))
    return Changes(removed=len(names))


def remove(store: LastingStore, names: Sequence[str]) -> Changes:
    """Remove images by their names, or all below a folder or of a tar file; the files stay.

    `update` does not bring them back; `add` does.

    Raises:
        DataError: a name fits no image.
    """
    rows: set[int] = set()
    banned: set[str] = set()
    absolute = [os.path.abspath(name) for name in names]
    with store.changing():
        live = [(row, record["image"]) for row, record in store.live()]
        for name in absolute:
            inside = below(to_name(name)), below(name)  # a path, or the name that was printed
            found = [(row, image) for row, image in live if any(it(image) for it in inside)]
            if not found and name not in store.sources:
                raise DataError(
                    f"{shown(name)}: found no such image in the collection, nothing was removed"
                )
            rows |= {row for row, _ in found}
            banned |= {image for _, image in found}
        followed = [source for source in store.sources if source not in absolute]
        store.append(Entry(removed=sorted(rows), banned=sorted(banned), sources=followed))
    return Changes(removed=len(rows))


def _find_again(store: LastingStore, items: Sequence[Item], known: Known) -> Changes:
    moved, copied = find_again(store, items, known)
    return Changes(added=copied, moved=moved, copied=copied)


def _say_how_read(store: LastingStore) -> None:
    if said := store.manifest.old_decoding:
        logger.warning("how images of this collection are read: %s", said)


def _bring(
    store: LastingStore, model: Model, items: Sequence[Item], known: Known, workers: int
) -> tuple[Changes, list[str]]:
    """Embed what is new or has changed, chunk by chunk.

    Returns:
        What happened, and names of the images whose files hold no image any more.
    """
    again = _find_again(store, items, known)
    fresh = [it for it in items if it.image not in known or changed(it, known[it.image][1])]
    same = len(items) - len(fresh) - again.moved - again.copied
    parts, damaged = [again, Changes(unchanged=same)], list[str]()
    if not fresh:
        return total(parts), damaged
    bar, preprocess = progress(len(fresh)), model.config.image.preprocess
    workers = workers if len(fresh) > BATCH else 0
    with Feed(preprocess, store.manifest.decoding, workers) as feed, bar:
        for chunk in batches(fresh, CHUNK):
            part, bad = _bring_chunk(store, model, feed, chunk, known)
            parts.append(part)
            damaged += bad
            bar.update(len(chunk))
    return total(parts), damaged


def _bring_chunk(
    store: LastingStore, model: Model, feed: Feed, items: Sequence[Item], known: Known
) -> tuple[Changes, list[str]]:
    vectors, tried = [], []
    for decoded in feed.batches(batches(items, BATCH)):
        vectors.append(embed_decoded(model, decoded)[0])
        tried += decoded.tried
    good = [it for it in tried if it.error is None]
    replaced = [known[it.item.image][0] for it in good if it.item.image in known]
    if good:
        store.append(Entry([record_of(it) for it in good], np.concatenate(vectors), replaced))
    bad = [it for it in tried if it.error is not None]
    done = Changes(
        added=len(good) - len(replaced),
        changed=len(replaced),
        failed=tuple((it.item.image, str(it.error)) for it in bad),
    )
    # a file that cannot be opened may be back tomorrow: its embedding stays
    return done, [it.item.image for it in bad if it.item.image in known and it.digest]


def changed(item: Item, record: dict[str, Any]) -> bool:
    """Whether an image is another one than when it was embedded.

    Its file's time and length tell that it is the same; its content that it is not.
    """
    try:
        status = os.stat(to_path(item.path))
        length = status.st_size if item.size < 0 else item.size
        if status.st_mtime_ns == record["changed"] and length == record["bytes"]:
            return False
        return content_digest(item.read()[0]) != record["digest"]
    except (OSError, DataError):
        return True
