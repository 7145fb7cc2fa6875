"""What a collection holds, in numbers: for who looks after it."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnclip.files import to_name, to_path
from nnclip.search.roots import is_below
from nnclip.search.store import FolderStore, LastingStore


@dataclass(frozen=True)
class Source:
    """A source: its path, whether it is there, and how many images lie below it."""

    path: str
    there: bool
    images: int


@dataclass(frozen=True)
class Card:
    """A collection.

    Attributes:
        images: that can be found.
        waiting: that are listed and not embedded yet.
        removed: rows that do not count any more.
        failed: name and reason of each image that could not be read.
        not_read: what the sources passed over when they were listed first.
        sources: what `update` looks through.
        exclude: patterns of what they leave out.
        model: the file or name; "" for the bundled one.
        digest: of its parameters.
        precision: how it computed.
        dtype: how embeddings are kept.
        embed: numbers of an embedding.
        format: of the folder.
        index: what makes searching fast, and the recall that it reached; {} for none.
        size: bytes of all files; 0 for a database.
        taken: the earliest and the latest date, and how many images have one.
        cameras: name -> images.
        places: how many images say where they were taken.
    """

    images: int
    waiting: int
    removed: int
    failed: list[tuple[str, str]]
    not_read: Mapping[str, int]
    sources: list[Source]
    exclude: list[str]
    model: str
    digest: str
    precision: str
    dtype: str
    embed: int
    format: int
    index: dict[str, Any]
    size: int
    taken: dict[str, Any]
    cameras: dict[str, int]
    places: int


def card_of(store: LastingStore) -> Card:
    """The card of a collection."""
    manifest, folder = store.manifest, store if isinstance(store, FolderStore) else None
    rows, columns = store.columns(["image", "taken", "camera", "latitude"])
    names = columns["image"].to_pylist()
    dates = sorted(filter(None, columns["taken"].to_pylist()))
    cameras = Counter(filter(None, columns["camera"].to_pylist()))
    return Card(
        images=len(rows),
        waiting=0 if folder is None else folder.waiting,
        removed=0 if folder is None else len(folder.dead),
        failed=[] if folder is None else folder.failures(),
        not_read=manifest.not_read,
        sources=[_source(path, names) for path in store.sources],
        exclude=list(store.exclude or ()),
        model=manifest.model,
        digest=manifest.digest,
        precision=manifest.precision,
        dtype=manifest.dtype,
        embed=manifest.embed,
        format=manifest.format,
        index=_index(store, len(rows)),
        size=0 if folder is None else _size(folder.path),
        taken={"images": len(dates), "first": dates[0], "last": dates[-1]} if dates else {},
        cameras=dict(cameras.most_common()),
        places=len(rows) - columns["latitude"].null_count,
    )


def _source(path: str, names: list[str]) -> Source:
    name = to_name(path)
    return Source(name, os.path.exists(to_path(name)), sum(is_below(it, name) for it in names))


def _index(store: LastingStore, images: int) -> dict[str, Any]:
    card = store.index_card()
    if card is None or card.kind == "exact":
        return {}
    told = {key: value for key, value in asdict(card).items() if key not in ("file", "checks")}
    return {**told, "added_since": max(0, images - card.rows)}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
