"""A collection follows its pictures: new ones added, changed ones embedded anew, gone ones removed.

Every change is acknowledged by the store before the next one begins, so a crash loses none.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.errors import DataError
from nnclip.image import image_suffixes
from nnclip.search.embed import BATCH, batches, embed_decoded
from nnclip.search.feed import Feed, content_digest
from nnclip.search.log import Entry
from nnclip.search.manifest import Model
from nnclip.search.shards import record_of
from nnclip.search.sources import Item, list_items
from nnclip.search.store import LastingStore

CHUNK = 32 * BATCH  # pictures that are added at once

Known = dict[str, tuple[int, dict[str, Any]]]  # name -> row and record


@dataclass(frozen=True)
class Changes:
    """What happened.

    Attributes:
        added: pictures that were not there.
        changed: pictures that were embedded again.
        removed: pictures that went.
        unchanged: pictures that were looked at and left as they are.
        failed: name and reason of each picture that cannot be read.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: tuple[tuple[str, str], ...] = ()


def add(
    store: LastingStore,
    model: Model,
    sources: Sequence[str],
    workers: int = 1,
    share: slice = slice(None),
) -> Changes:
    """Add the pictures of more sources, which `update` follows from now on.

    Those that are there already are embedded again only if they have changed.

    Args:
        store: where to.
        model: the one that embedded what is there.
        sources: see `list_items`.
        workers: processes that decode pictures.
        share: of the pictures, what this process adds; others add the rest.

    Raises:
        DataError: a source does not exist or holds no picture; the store cannot be written.
        ConfigError: another model than the one that embedded the collection.
    """
    store.manifest.check_model(model)
    absolute = [os.path.abspath(source) for source in sources]
    items = list_items(absolute, store.manifest.column)[share]
    changes = _bring(store, model, items, _known(store), workers)
    followed = [*store.sources, *(it for it in absolute if it not in store.sources)]
    if followed != store.sources:
        store.append(Entry(sources=followed))
    return changes


def update(store: LastingStore, model: Model, workers: int = 1) -> Changes:
    """Look through all sources anew.

    Raises:
        DataError: a folder, table or tar file is not there (is a disk not mounted?): nothing is
            removed for that; `remove` it if it is meant.
        ConfigError: another model than the one that embedded the collection.
    """
    store.manifest.check_model(model)
    items = list_items([it for it in store.sources if not _gone(it)], store.manifest.column)
    known = _known(store)
    wanted = {item.image: item for item in items if item.image not in store.banned}
    vanished = [row for name, (row, _) in known.items() if name not in wanted]
    changes = _bring(store, model, list(wanted.values()), known, workers)
    if vanished:
        store.append(Entry(removed=vanished))
    return total([changes, Changes(removed=len(vanished))])


def _gone(source: str) -> bool:
    """Whether a source is a picture file that is not there any more."""
    return Path(source).suffix.lower() in image_suffixes() and not Path(source).exists()


def remove(store: LastingStore, names: Sequence[str]) -> Changes:
    """Remove pictures by their names, or all below a folder or of a tar file; the files stay.

    `update` does not bring them back; `add` does.

    Raises:
        DataError: a name fits no picture.
    """
    rows: set[int] = set()
    banned: set[str] = set()
    absolute = [os.path.abspath(name) for name in names]
    live = [(row, record["image"]) for row, record in store.live()]
    for name in absolute:
        below = name.rstrip("/") + "/"
        found = [(row, image) for row, image in live if image == name or image.startswith(below)]
        if not found and name not in store.sources:
            raise DataError(f"{name}: found no such picture in the collection, nothing was removed")
        rows |= {row for row, _ in found}
        banned |= {image for _, image in found}
    followed = [source for source in store.sources if source not in absolute]
    store.append(Entry(removed=sorted(rows), banned=sorted(banned), sources=followed))
    return Changes(removed=len(rows))


def _known(store: LastingStore) -> Known:
    return {record["image"]: (row, record) for row, record in store.live()}


def _bring(
    store: LastingStore, model: Model, items: Sequence[Item], known: Known, workers: int
) -> Changes:
    """Embed what is new or has changed, chunk by chunk."""
    fresh = [it for it in items if it.image not in known or _changed(it, known[it.image][1])]
    parts = [Changes(unchanged=len(items) - len(fresh))]
    if not fresh:
        return parts[0]
    with Feed(model.config.image.preprocess, workers if len(fresh) > BATCH else 0) as feed:
        for chunk in batches(fresh, CHUNK):
            parts.append(_bring_chunk(store, model, feed, chunk, known))
    return total(parts)


def _bring_chunk(
    store: LastingStore, model: Model, feed: Feed, items: Sequence[Item], known: Known
) -> Changes:
    vectors, tried = [], []
    for decoded in feed.batches(batches(items, BATCH)):
        vectors.append(embed_decoded(model, decoded)[0])
        tried += decoded.tried
    good = [it for it in tried if it.error is None]
    replaced = [it for it in tried if it.item.image in known]
    if good or replaced:
        removed = [known[it.item.image][0] for it in replaced]
        store.append(Entry([record_of(it) for it in good], np.concatenate(vectors), removed))
    changed = sum(it.error is None for it in replaced)
    return Changes(
        added=len(good) - changed,
        changed=changed,
        removed=len(replaced) - changed,
        failed=tuple((it.item.image, it.error) for it in tried if it.error is not None),
    )


def _changed(item: Item, record: dict[str, Any]) -> bool:
    """Whether a picture is another one than when it was embedded.

    Its file's time and length tell that it is the same; its content that it is not.
    """
    try:
        status = os.stat(item.path)
        length = status.st_size if item.size < 0 else item.size
        if status.st_mtime_ns == record["changed"] and length == record["bytes"]:
            return False
        return content_digest(item.read()[0]) != record["digest"]
    except (OSError, DataError):
        return True


def total(parts: Iterable[Changes]) -> Changes:
    """What happened in several parts."""
    parts = list(parts)
    counts = ("added", "changed", "removed", "unchanged")
    counted = {name: sum(getattr(part, name) for part in parts) for name in counts}
    return Changes(**counted, failed=tuple(it for part in parts for it in part.failed))
