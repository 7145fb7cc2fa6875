"""Kept pairs as train.py reads them: a table of names, parquet with images inside, tar shards."""

import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from nnclip.errors import ConfigError, DataError
from nnclip.files import shown, to_name
from nnclip.image.formats import image_suffixes
from nnclip.scores.table import WRITERS, Scores, write_rows
from nnclip.search.writing import write_file
from nnclip.sources import stored_bytes
from nnclip.training.data.pairs import Pair, PairTable, by_image

SHARD = 1000  # images
PATTERN = "pairs-{:06d}.tar"


def write_kept(path: Path, scores: Scores, kept: np.ndarray) -> int:
    """Write the pairs that are kept; returns how many images they have.

    Args:
        path: a table, told by its suffix; or a folder for tar shards.
        scores: all pairs.
        kept: (P,) bool.

    Raises:
        ConfigError: a table of names, and images that are no files of their own.
        DataError: an image cannot be read any more, or `path` cannot be written.
    """
    numbers = np.flatnonzero(kept).tolist()
    pairs = [scores.pairs[number] for number in numbers]
    if path.suffix.lower() not in WRITERS:
        return _write_shards(path, by_image(PairTable(pairs)))
    inside = next((pair for pair in pairs if pair.form or pair.size >= 0), None)
    if inside is not None and path.suffix.lower() != ".parquet":
        raise ConfigError(
            f"-o {shown(path)}: found images inside {shown(to_name(inside.path))}, which a table "
            "cannot name, expected a .parquet file or a folder for tar shards"
        )
    rows = [row for row, keep in zip(scores.rows(), kept, strict=True) if keep]
    write_rows(path, [_row(path, row, pair, inside) for row, pair in zip(rows, pairs, strict=True)])
    return len(by_image(PairTable(pairs)))


def _row(path: Path, row: dict[str, Any], pair: Pair, inside: Pair | None) -> dict[str, Any]:
    """A row without columns about places; with the image in it, or the name of its file."""
    left_out = ("filepath", "offset", "size", "form", "error", "near", "text_only")
    said = {name: value for name, value in row.items() if name not in left_out}
    if inside is not None:
        return {"image": stored_bytes(pair)[0], **said}
    whole, folder = os.path.abspath(pair.path), os.path.abspath(path.parent)
    below = os.path.relpath(whole, folder)
    return {"filepath": to_name(whole if below.startswith("..") else below), **said}


def _write_shards(folder: Path, pairs: PairTable) -> int:
    """Write WebDataset shards: an image, its first caption as `.txt`, all of them as `.json`."""
    for number, start in enumerate(range(0, len(pairs), SHARD)):
        part = [pairs[row] for row in range(start, min(start + SHARD, len(pairs)))]

        def fill(temporary: str, start: int = start, part: Sequence[Pair] = part) -> None:
            with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as shard:
                for name, content in _members(start, part):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(content)
                    shard.addfile(entry, io.BytesIO(content))

        write_file(folder / PATTERN.format(number), fill)
    return len(pairs)


def _members(start: int, pairs: Sequence[Pair]) -> Iterator[tuple[str, bytes]]:
    for index, pair in enumerate(pairs, start):
        content = stored_bytes(pair)[0]
        yield f"{index:08d}{_suffix(pair, content)}", content
        yield f"{index:08d}.txt", pair.captions[0].encode()
        told = json.dumps({"captions": pair.captions}, ensure_ascii=False)
        yield f"{index:08d}.json", told.encode()


def _suffix(pair: Pair, content: bytes) -> str:
    """That of the file, or of what Pillow takes the image for."""
    suffix = PurePath(pair.path).suffix.lower()
    if pair.size < 0 and suffix in image_suffixes():
        return suffix
    try:
        with Image.open(io.BytesIO(content)) as image:
            kind = str(image.format).lower()
    except (OSError, ValueError) as error:
        raise DataError(f"{shown(pair.name)}: cannot be read ({error})") from error
    return {"jpeg": ".jpg", "mpo": ".jpg"}.get(kind, f".{kind}")
