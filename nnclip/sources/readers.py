"""All kinds of sources. A new one is a file in this folder and a row in READERS.

Embedding, training, evaluation and the page read every one of them.
"""

import logging
import os
import stat
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path, PurePath

from PIL import Image

from nnclip.errors import DataError
from nnclip.files import open_regular, read_regular, shown
from nnclip.image import (
    MAX_BYTES,
    USUAL_DECODING,
    Decoding,
    ImageSource,
    Preprocess,
    image_suffixes,
    open_image,
)
from nnclip.image.formats import hint
from nnclip.sources.captions_json import CAPTIONS_JSON
from nnclip.sources.cifar import CIFAR
from nnclip.sources.folder import FOLDER
from nnclip.sources.reader import Reader
from nnclip.sources.sample import Ask, Found, Sample, Stored
from nnclip.sources.shards import SHARDS
from nnclip.sources.single import IMAGE
from nnclip.sources.table import TABLE

logger = logging.getLogger(__name__)

READERS: tuple[Reader, ...] = (SHARDS, CIFAR, FOLDER, CAPTIONS_JSON, IMAGE, TABLE)


def read_source(source: str | Path, ask: Ask, found: Found | None = None) -> Iterator[Sample]:
    """The samples of a source of any kind.

    Args:
        source: a path as the system names it, or what else a reader knows.
        ask: what is wanted.
        found: is filled with what the reader finds out; it is logged where more than images is
            asked for.

    Raises:
        DataError: there is no such source, it is of no known kind, or it is damaged.
    """
    source, found = str(source), Found() if found is None else found
    found.bad.strict = ask.strict
    try:
        reader = next((reader for reader in READERS if reader.claims(source, ask)), None)
        if reader is None:
            raise DataError(_unknown(source))
        yield from reader.read(source, ask, found)
    except OSError as error:
        raise DataError(f"{shown(source)}: cannot be read ({error.strerror or error})") from error
    if found.told and (ask.captions or ask.labels):
        logger.info("%s: found %s", shown(source), found.told)


def stored_bytes(stored: Stored) -> tuple[bytes, os.stat_result]:
    """The bytes of an image file, and the system's word on the file that holds them.

    Raises:
        DataError: it is gone, no regular file, or too large.
    """
    path = stored.path
    try:
        if stored.form:
            load = next(reader.load for reader in READERS if reader.name == stored.form)
            assert load is not None
            with open_regular(path) as file:
                status = os.fstat(file.fileno())
            return load(path, stored.offset, stored.size), status
        return read_regular(path, MAX_BYTES, stored.offset, stored.size)
    except OSError as error:
        raise DataError(f"cannot read {shown(stored.name)}: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot read {shown(stored.name)}: {error}") from error  # a zero byte


def open_stored(
    source: Stored | ImageSource,
    preprocess: Preprocess | None = None,
    decoding: Decoding = USUAL_DECODING,
    crop: float | None = None,
) -> Image.Image:
    """An image of a source, or anything that `open_image` opens.

    Args:
        source: where it is.
        preprocess: what it is opened for; None for every pixel.
        decoding: how.
        crop: see `Preprocess.open`.

    Raises:
        DataError: as `open_image` has them.
    """
    file: ImageSource
    if isinstance(source, (str, Path, bytes, BytesIO, Image.Image)):
        name, file = "", source
    else:
        alone = not source.form and source.size < 0
        name, file = source.name, source.path if alone else stored_bytes(source)[0]
    if preprocess is None:
        return open_image(file, as_seen=decoding.as_seen, name=name)
    return preprocess.open(file, decoding, crop=crop, name=name)


def known_kinds() -> str:
    """What can be read, for people."""
    images = f"an image ({', '.join(sorted(image_suffixes()))})"
    kinds = [images if reader is IMAGE else reader.told_by for reader in READERS]
    return f"{', '.join(kinds[:-1])} or {kinds[-1]}"


def _unknown(source: str) -> str:
    name = shown(source)
    try:
        mode = os.stat(source).st_mode
    except (OSError, ValueError):
        return f"{name}: no such file or folder; expected {known_kinds()}"
    if not stat.S_ISREG(mode):
        return f"{name}: found a special file, expected {known_kinds()}"
    suffix = PurePath(source).suffix.lower()
    said = f"{name}: found a file that ends in {shown(suffix)}, expected {known_kinds()}"
    return "; ".join(filter(None, [said, hint([suffix])]))
