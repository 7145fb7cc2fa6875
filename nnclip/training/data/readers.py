"""Captioned images of sources of any kind, for training."""

import logging
from collections.abc import Iterator

from nnclip.errors import DataError
from nnclip.files import shown
from nnclip.sources import TRAINING, Ask, Found, open_stored, read_source
from nnclip.sources.bad import Bad
from nnclip.sources.shards import shard_paths
from nnclip.training.data.pairs import Pair, PairTable

logger = logging.getLogger(__name__)

__all__ = ["read_pairs", "shard_paths", "show_pairs"]

SAMPLED = 3  # pairs that are shown
CAPTION = 80  # characters of a caption that are shown


def read_pairs(
    source: str,
    root: str | None = None,
    image_key: str = "filepath",
    caption_key: str = "title",
    every_caption: bool = False,
    separator: str = "",
    max_bad: int = 1000,
    split: str = TRAINING,
) -> PairTable:
    """The table of a source of any kind in `nnclip.sources.READERS`; logs what was understood.

    Args:
        source: it.
        root: folder that relative paths begin in; None for the usual one.
        image_key: column of paths.
        caption_key: column of captions.
        every_caption: a pair for each caption of an image; else one for each image.
        separator: of a table of text; "" to tell it by the header.
        max_bad: pairs that may be left out: without a caption, or written ambiguously.
        split: of sources that have several.

    Raises:
        DataError: there is no such source, it is damaged, or holds no captioned image; too much
            would be left out.
    """
    ask = Ask(
        captions=True,
        each=every_caption,
        strict=False,
        split=split,
        root=root or "",
        image_key=image_key,
        caption_key=caption_key,
        separator=separator,
    )
    found = Found()
    try:
        table = _table(source, ask, found)
        _check_bad(source, table, found.bad, max_bad)
    except DataError as error:
        if str(error).startswith(shown(source)):
            raise
        raise DataError(f"{shown(source)}: {error}") from error
    return table


def _table(source: str, ask: Ask, found: Found) -> PairTable:
    """The pairs; where there are none, what was left out says why."""
    try:
        table = PairTable(_pairs(source, ask, found), found.not_read)
    except DataError as error:
        if not found.bad or "no captioned image" not in str(error):
            raise
        raise DataError(f"{error}; left out: {found.bad}") from error
    left_out = [f"{table.dropped:,} without a caption"] if table.dropped else []
    left_out += [str(found.bad)] if found.bad else []
    if left_out:
        logger.warning("%s: left out: %s", shown(source), ", ".join(left_out))
    if found.not_read:
        logger.warning("%s: %s", shown(source), found.not_read.told)
    return table


def _pairs(source: str, ask: Ask, found: Found) -> Iterator[Pair]:
    for it in read_source(source, ask, found):
        yield Pair(it.path, it.captions, it.offset, it.size, it.form)


def _check_bad(source: str, table: PairTable, bad: Bad, most: int) -> None:
    count = sum(bad.values())
    bad.check(source, count, len(table))
    if table.dropped + count > most:
        empty = [f"{table.dropped:,} without a caption"] if table.dropped else []
        found = ", ".join(empty + [str(bad)] * bool(bad))
        raise DataError(f"found {found}, more than --max-bad {most}")


def show_pairs(source: str, table: PairTable) -> None:
    """Log some pairs as they were understood: caption, size, path.

    Raises:
        DataError: no image of them can be opened.
    """
    reasons, rows = [], sorted({0, len(table) // 2, len(table) - 1})
    for row in rows:
        pair = table[row]
        try:
            image = open_stored(pair)
        except DataError as error:
            reasons.append(str(error))
            continue
        caption = shown(pair.captions[0])
        caption = caption if len(caption) <= CAPTION else f"{caption[:CAPTION]}..."
        more = f" (and {len(pair.captions) - 1} more)" if len(pair.captions) > 1 else ""
        about = f"{caption!r}{more}, {image.width} x {image.height}, {shown(pair.name)}"
        logger.info("%s: pair %s: %s", shown(source), f"{row + 1:,}", about)
    if len(reasons) == len(rows):
        hint = " (a path of Windows)" if "\\" in pair.path else ""
        raise DataError(
            f"{shown(source)}: found {len(table):,} pairs, but none of {len(rows)} of their images "
            f"is there and can be opened{hint}: {reasons[0]}; name the folder that paths begin in "
            "(--image-root)"
        )
