"""Images -> shards of embeddings, by one process or several, going on where a crash stopped it.

Axes: N batch, E embedding.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nnclip.errors import DataError
from nnclip.files import to_name
from nnclip.image import NotRead
from nnclip.image.skips import USUAL
from nnclip.search.feed import Decoded, Feed, Tried
from nnclip.search.lock import locked
from nnclip.search.log import FILE as LOG
from nnclip.search.log import Log
from nnclip.search.manifest import FILE, Manifest, Model, read_manifest, write_manifest
from nnclip.search.roots import NO_ROOTS, Roots
from nnclip.search.rows import unit_rows
from nnclip.search.shards import FOLDER as SHARD_FOLDER
from nnclip.search.shards import (
    check_shard,
    failed_before,
    has_shard,
    item_of,
    planned_items,
    write_plan,
    write_shard,
)
from nnclip.search.sources import Item, list_items

logger = logging.getLogger(__name__)

BATCH = 32
SMALLEST, LARGEST = 2 * BATCH, 256 * BATCH  # images of a shard, which can be searched at once
SHARDS = 64  # about so many, between those limits


@dataclass(frozen=True)
class Work:
    """What a process has done.

    Attributes:
        images: that it tried.
        failed: of these.
        seconds: it took, from when the first batch was decoded (workers need a second to start).
        engine: seconds of these in which the model computed.
    """

    images: int = 0
    failed: int = 0
    seconds: float = 0.0
    engine: float = 0.0


def prepare(
    folder: Path,
    wanted: Manifest,
    sources: Sequence[str],
    column: str,
    exclude: Sequence[str] = USUAL,
) -> Manifest:
    """Begin a collection, or find the one that was begun; one process does it for all.

    Args:
        folder: of the collection; may exist.
        wanted: by what it is to be embedded.
        sources: see `list_items`; those of a collection that was begun stay as they are.
        column: see `list_items`.
        exclude: see `list_items`.

    Raises:
        DataError: no images, or the folder holds a collection of another kind.
    """
    absolute = tuple(str(Path(source).absolute()) for source in sources)
    with locked(folder):
        if (folder / FILE).exists() or next((folder / SHARD_FOLDER).glob("*"), None):
            found = read_manifest(folder)
            _check_same(folder, found, replace(wanted, column=column))
            return found
        if not absolute:
            raise DataError(f"{folder}: found no collection, expected sources to embed into it")
        not_read, roots = NotRead(), NO_ROOTS.including(absolute)
        items = list_items(absolute, column, not_read, exclude)
        shard = int(np.clip(-(-len(items) // SHARDS), SMALLEST, LARGEST)) // BATCH * BATCH
        begun = replace(wanted.settled(), sources=absolute, column=column, items=len(items))
        begun = replace(begun, shard=shard, not_read=dict(not_read), exclude=tuple(exclude))
        place = to_name(os.path.abspath(folder))
        begun = replace(begun, roots=dict(roots.folders), place=place)
        planned = [item_of(roots.stored_record(vars(item))) for item in items]
        begun = replace(begun, plan=write_plan(folder, planned, asdict(begun)))
        write_manifest(folder, begun)
    return begun


def _check_same(folder: Path, found: Manifest, asked: Manifest) -> None:
    for name in ("digest", "dtype", "column"):
        if getattr(found, name) != getattr(asked, name):
            raise DataError(
                f"{folder}: holds a collection with another {name} ({getattr(found, name)}, "
                f"not {getattr(asked, name)}); name another folder"
            )
    if not found.read_as(asked):
        raise DataError(
            f"{folder}: holds a collection whose images were read in another way: "
            f"{found.decoding}; leave out --exact-pixels and --as-seen, or name another folder"
        )
    if not found.prepared_as(asked.preprocess):
        raise DataError(
            f"{folder}: holds a collection whose images were prepared in another way ("
            f"{found.preprocess or 'as OpenAI does'}, not {asked.preprocess}); name another folder"
        )


def embed_shards(
    folder: Path, model: Model, rank: int = 0, size: int = 1, workers: int = 1, batch: int = BATCH
) -> Work:
    """Embed this process's shards, those that are not there yet or are damaged.

    Args:
        folder: of a collection that `prepare` began.
        model: what embeds.
        rank: of this process.
        size: number of processes.
        workers: processes that decode for this one; 0 to decode here.
        batch: images that the model gets at once.

    Raises:
        DataError: the disk is full, a worker died, or the model gives what is not finite.
    """
    manifest = read_manifest(folder)
    numbers = [n for n in range(rank, manifest.shards, size) if not _whole(folder, n, manifest)]
    if not numbers:
        return Work()
    log = Log(folder / LOG, manifest.embed, manifest.dtype)
    moved, counted = log.summary()
    roots = Roots(moved or manifest.roots)
    items = planned_items(folder, manifest, roots)
    shards = {n: items[n * manifest.shard : (n + 1) * manifest.shard] for n in numbers}
    failed = {number: failed_before(folder, number, counted) for number in numbers}
    total = sum(map(len, shards.values()))
    work, start = Work(), 0.0
    bar = progress(total, quiet=rank > 0)
    with Feed(model.config.image.preprocess, manifest.decoding, workers) as feed, bar:
        decoded = feed.batches(cut for part in shards.values() for cut in batches(part, batch))
        for number, part in shards.items():
            rows, tried = [], list[Tried]()
            while len(tried) < len(part):
                one = next(decoded)
                start = start or time.perf_counter()
                vectors_NE, seconds = embed_decoded(model, one)
                rows.append(vectors_NE.astype(manifest.dtype))
                tried += one.tried
                work = replace(work, engine=work.engine + seconds)
                bar.update(len(one.tried))
            placed = place_rows(np.concatenate(rows), tried, failed[number])
            write_shard(folder, number, *placed, roots)
            bad = sum(it.error is not None for it in placed[1])
            work = replace(work, failed=work.failed + bad)
    return replace(work, images=total, seconds=time.perf_counter() - start)


def _whole(folder: Path, number: int, manifest: Manifest) -> bool:
    """Whether a shard is there and as it was written; reads all of it."""
    if not has_shard(folder, number):
        return False
    try:
        check_shard(folder, number, manifest)
    except DataError as error:
        logger.warning("%s", error)
        return False
    return True


def place_rows(
    rows_NE: np.ndarray, tried: Sequence[Tried], failed: frozenset[int] | None
) -> tuple[np.ndarray, list[Tried], list[int]]:
    """A shard that is embedded again, every image in the row that it had.

    The log and the index count rows. An image that could not be read then keeps no row, and one
    that cannot be read now a row of zeros that does not count.

    Args:
        rows_NE: embeddings of the images that can be read now, in order.
        tried: all images of the shard.
        failed: places of the images that had no row; None if the shard was not there before.

    Returns:
        Rows, images and the rows that do not count, for `write_shard`.
    """
    if failed is None:
        return rows_NE, list(tried), []
    rows, placed, dead, at = list[np.ndarray](), list[Tried](), list[int](), 0
    for place, it in enumerate(tried):
        row_E = rows_NE[at] if it.error is None else np.zeros(rows_NE.shape[1], rows_NE.dtype)
        at += it.error is None
        if place in failed:
            placed.append(replace(it, error=it.error or "could not be read at first; run update"))
            continue
        if it.error is not None:
            dead.append(len(rows))
        rows.append(row_E)
        placed.append(replace(it, error=None))
    return np.stack(rows) if rows else rows_NE[:0], placed, dead


def progress(total: int, quiet: bool = False) -> "tqdm[Any]":
    """A bar on a terminal, with the time left; nothing elsewhere, or where it is `quiet`."""
    return tqdm(
        total=total,
        unit=" images",
        desc="embedding",
        smoothing=0.1,
        disable=True if quiet else None,
    )


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Images in runs of `size`; the last may be shorter."""
    return (items[at : at + size] for at in range(0, len(items), size))


def embed_decoded(model: Model, decoded: Decoded) -> tuple[np.ndarray, float]:
    """Embeddings (N, E) float32 of unit length, and the seconds that the model took."""
    if not len(decoded.planes):
        return np.empty((0, model.config.embed), np.float32), 0.0
    x_N3RR = model.config.image.preprocess.normalise(decoded.planes)
    start = time.perf_counter()
    features_NE = model.encode_image(x_N3RR)
    return unit_rows(features_NE), time.perf_counter() - start
