"""Captioned images of sources of any kind, for training."""

import logging
from collections.abc import Iterator

from nnclip.errors import DataError
from nnclip.files import shown
from nnclip.sources import TRAINING, Ask, Found, read_source
from nnclip.sources.shards import shard_paths
from nnclip.training.data.pairs import Pair, PairTable

logger = logging.getLogger(__name__)

__all__ = ["read_pairs", "shard_paths"]


def read_pairs(
    source: str,
    root: str | None = None,
    image_key: str = "filepath",
    caption_key: str = "title",
    every_caption: bool = False,
) -> PairTable:
    """The table of a source of any kind in `nnclip.sources.READERS`.

    Args:
        source: it.
        root: folder that relative paths begin in; None for the usual one.
        image_key: column of paths.
        caption_key: column of captions.
        every_caption: a pair for each caption of a .json file; else one for each image.

    Raises:
        DataError: there is no such source, it is damaged, or holds no captioned image.
    """
    ask = Ask(
        captions=True,
        each=every_caption,
        strict=False,
        split=TRAINING,
        root=root or "",
        image_key=image_key,
        caption_key=caption_key,
    )
    found = Found()
    try:
        table = PairTable(_pairs(source, ask, found), found.not_read)
    except DataError as error:
        if shown(source) in str(error):
            raise
        raise DataError(f"{shown(source)}: {error}") from error
    if found.not_read:
        logger.warning("%s: %s", shown(source), found.not_read.told)
    return table


def _pairs(source: str, ask: Ask, found: Found) -> Iterator[Pair]:
    for it in read_source(source, ask, found):
        yield Pair(it.path, it.captions, it.offset, it.size, it.form)
