"""Many images and texts through the callables that embed them: batches, shares, bad images.

Axes: N images, M texts, E embedding.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from nnclip.errors import DataError
from nnclip.evaluate.ranks import Ranks
from nnclip.files import to_name
from nnclip.image import OPENAI, ImageSource
from nnclip.sources import Sample, open_stored

EmbedImages = Callable[[list[Image.Image]], np.ndarray]
EmbedTexts = Callable[[list[str]], np.ndarray]
Source: TypeAlias = Sample | ImageSource
OpenImage = Callable[[Source], Image.Image]
Item = TypeVar("Item")
ALONE = Ranks()
as_openai = partial(open_stored, decoding=OPENAI)  # how published numbers were measured
BATCH = 64
NAMED = 5  # unreadable images that a message lists by name


@dataclass(frozen=True)
class Embedded:
    """Embeddings of the images that could be read.

    Args:
        rows: (K, E) float32 of unit length.
        kept: (K,) int64, which image each row is.
        skipped: name and reason of each image that could not be read.
    """

    rows: np.ndarray
    kept: np.ndarray
    skipped: tuple[tuple[str, str], ...]


def batches(count: int, size: int = BATCH) -> list[range]:
    """0..count-1 in runs of `size`; the last may be shorter."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def progress(items: Sequence[Item], ranks: Ranks, what: str) -> Iterable[Item]:
    """`items` behind a bar on rank 0, where somebody watches."""
    return tqdm(items, desc=what, unit="batch", disable=True if ranks.rank else None)


def embed_sources(
    embed_images: EmbedImages,
    sources: Sequence[Source],
    ranks: Ranks = ALONE,
    *,
    open_image: OpenImage = as_openai,
    change: Callable[[int, Image.Image], Image.Image] | None = None,
    batch: int = BATCH,
) -> Embedded:
    """Embed images; those that cannot be read are named and left out.

    Args:
        embed_images: see `nnclip.evaluate`.
        sources: paths or images.
        ranks: the processes that share the work; all get all rows.
        open_image: source -> image; DataError if it cannot be read.
        change: (index, image) -> the image to embed instead.
        batch: images a call.

    Raises:
        DataError: no image can be read, or an embedding is not finite or not of unit length.
    """

    def work() -> list[tuple[np.ndarray, list[int], list[tuple[str, str]]]]:
        with ThreadPoolExecutor(2) as pool:
            shares = ranks.share(batches(len(sources), batch))
            embed = partial(_embed_batch, embed_images, sources, open_image, change, pool)
            return [embed(indices) for indices in progress(shares, ranks, "images")]

    parts = ranks.collect(work)
    skipped = tuple(entry for part in parts for entry in part[2])
    rows = [part[0] for part in parts if len(part[0])]
    if not rows:
        raise DataError(f"none of {len(sources)} images can be read: {summary(skipped)}")
    kept = [index for part in parts for index in part[1]]
    return Embedded(np.concatenate(rows), np.array(kept, np.int64), skipped)


def _embed_batch(
    embed_images: EmbedImages,
    sources: Sequence[Source],
    open_image: OpenImage,
    change: Callable[[int, Image.Image], Image.Image] | None,
    pool: ThreadPoolExecutor,
    indices: range,
) -> tuple[np.ndarray, list[int], list[tuple[str, str]]]:
    images, kept, skipped = [], [], []
    opened = pool.map(partial(_opened, sources, open_image), indices)
    for index, image in zip(indices, opened, strict=True):
        if isinstance(image, tuple):
            skipped.append(image)
            continue
        images.append(change(index, image) if change else image)
        kept.append(index)
    rows = checked(embed_images(images), len(images)) if images else np.empty((0, 0))
    return rows, kept, skipped


def _opened(
    sources: Sequence[Source], open_image: OpenImage, index: int
) -> Image.Image | tuple[str, str]:
    """The image; or what it is called, and why it cannot be read."""
    name = f"image {index}"
    try:
        source = sources[index]
        if isinstance(source, (str, Path)):
            name = to_name(source)
        elif isinstance(source, Sample):
            name = source.name
        return open_image(source)
    except DataError as error:
        return name, str(error)


def embed_sentences(
    embed_texts: EmbedTexts, texts: Sequence[str], ranks: Ranks = ALONE, *, batch: int = 4 * BATCH
) -> np.ndarray:
    """Embed texts, each once however often it occurs.

    Returns:
        (M, E) float32 of unit length.

    Raises:
        DataError: there are no texts, or an embedding is not finite or not of unit length.
    """
    if not texts:
        raise DataError("no texts to embed: at least one was expected")
    # a batch takes as long as its longest text: those of one length come together
    unique = sorted(dict.fromkeys(texts), key=len)
    groups = [[unique[i] for i in indices] for indices in batches(len(unique), batch)]
    groups = [group for rank in range(ranks.size) for group in groups[rank :: ranks.size]]

    def work() -> list[np.ndarray]:
        shared = progress(ranks.share(groups), ranks, "texts")
        return [checked(embed_texts(group), len(group)) for group in shared]

    place = {text: i for i, text in enumerate(text for group in groups for text in group)}
    rows = np.concatenate(ranks.collect(work))
    return rows[[place[text] for text in texts]]


def checked(rows: np.ndarray, count: int) -> np.ndarray:
    """`rows` as float32 if they are `count` finite rows of unit length.

    Raises:
        DataError: they are not; nothing computed from them would mean anything.
    """
    rows = np.asarray(rows, np.float32)
    if rows.ndim != 2 or len(rows) != count:
        raise DataError(f"embedding {count} inputs gave shape {rows.shape}, expected ({count}, E)")
    lengths = np.linalg.norm(rows, axis=1)
    if not np.isfinite(lengths).all():
        bad = int((~np.isfinite(lengths)).sum())
        raise DataError(f"{bad} of {count} embeddings are not finite: is the model damaged?")
    if np.abs(lengths - 1).max() > 1e-3:
        worst = float(lengths[np.abs(lengths - 1).argmax()])
        raise DataError(f"an embedding has length {worst:.4g}, expected 1: normalise the features")
    return rows


def summary(skipped: Sequence[tuple[str, str]]) -> str:
    """A sentence's worth of what was skipped: the first reasons, and how many more."""
    more = f" and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
    return "; ".join(reason for _, reason in skipped[:NAMED]) + more
