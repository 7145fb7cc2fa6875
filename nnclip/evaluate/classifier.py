"""Class names through templates: one embedding per class, kept on disk.

Axes: C classes, T templates, E embedding.
"""

import hashlib
import io
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnclip.embeddings import unit
from nnclip.evaluate.embedding import ALONE, EmbedTexts, checked, embed_sentences
from nnclip.evaluate.ranks import Ranks
from nnclip.text.prompts import fill

logger = logging.getLogger(__name__)


def class_embeddings(
    embed_texts: EmbedTexts,
    classes: Sequence[str],
    templates: Sequence[str],
    ranks: Ranks = ALONE,
    *,
    cache: Path | None = None,
    fingerprint: str = "",
) -> np.ndarray:
    """The mean of a class's embeddings over all templates, brought back to unit length.

    Args:
        embed_texts: see `nnclip.evaluate`.
        classes: C names.
        templates: T texts with one `{}` each.
        ranks: the processes that share the work.
        cache: folder of kept embeddings; None keeps none.
        fingerprint: what tells one model from another; needed for the cache.

    Returns:
        (C, E) float32, unit rows.

    Raises:
        DataError: no classes, no templates, one without `{}`, embeddings that are not finite.
    """
    texts = fill(templates, classes)
    path = _cached(cache, fingerprint, texts) if cache and fingerprint else None
    kept = _read(path, len(texts)) if path else None
    # all or none: a process that embeds alone would wait for the others
    if all(ranks.collect(lambda: [kept is not None])) and kept is not None:
        return kept
    flat = embed_sentences(embed_texts, [text for row in texts for text in row], ranks)
    means = flat.reshape(len(texts), len(texts[0]), -1).mean(1)
    rows = unit(means)
    if path and ranks.rank == 0:
        _write(path, rows)
    return rows


def _cached(cache: Path, fingerprint: str, texts: list[list[str]]) -> Path:
    key = hashlib.sha256(json.dumps([fingerprint, texts]).encode()).hexdigest()
    return cache / "class-embeddings" / f"{key[:32]}.npy"


def _read(path: Path, count: int) -> np.ndarray | None:
    """The kept embeddings, or None where there are none or the file is damaged."""
    try:
        # mapped first: a header may tell more rows than there are
        return checked(np.array(np.load(path, mmap_mode="r")), count)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        logger.warning("%s: kept class embeddings are damaged, computed again (%s)", path, error)
        return None


def _write(path: Path, rows: np.ndarray) -> None:
    """Keep `rows`; a full or read-only disk costs the time saved, nothing more."""
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(buffer.getvalue())
        os.replace(unfinished, path)
    except OSError as error:
        logger.warning("%s: class embeddings not kept (%s)", path, error.strerror or error)
