"""Tables, one of whose columns holds images: separated text, JSON lines, parquet.

A name is relative to the table's folder, or to the current one where the images are there. A file
name that is no UTF-8 is written in its escaped form, see `nnclip.files`.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from nnclip.errors import DataError
from nnclip.files import shown
from nnclip.sources.captions import texts_of
from nnclip.sources.delimited import json_lines, separated
from nnclip.sources.parquet import SUFFIXES as PARQUET
from nnclip.sources.parquet import check_groups, load, parquet
from nnclip.sources.places import Places, expanded
from nnclip.sources.reader import Reader
from nnclip.sources.rows import (
    CAPTION,
    IMAGE,
    LABEL,
    Table,
    addresses_first,
    column_of,
    is_address,
)
from nnclip.sources.sample import Ask, Found, Sample
from nnclip.sources.text import plain_suffix

JSON_LINES = (".jsonl", ".ndjson")
SUFFIXES = (".csv", ".tsv", ".tab", ".txt", *JSON_LINES, *PARQUET)


def open_table(path: Path, separator: str = "", wanted: tuple[str, ...] = ()) -> Table:
    """A table of any kind.

    Args:
        path: of the file.
        separator: of separated text; "" to tell it by the header.
        wanted: names of columns, which tell the separator.

    Raises:
        DataError: it cannot be read.
    """
    suffix = plain_suffix(path)
    if suffix in PARQUET:
        return parquet(path)
    return json_lines(path) if suffix in JSON_LINES else separated(path, separator, wanted)


def read(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """A sample for each row."""
    wanted = (ask.image_key, ask.caption_key, ask.label_key)
    for path in [Path(source)] if os.path.exists(source) else expanded(source):
        yield from samples(open_table(path, ask.separator, wanted), ask, found)


def samples(table: Table, ask: Ask, found: Found) -> Iterator[Sample]:
    """A sample for each row of an open table.

    Raises:
        DataError: it lacks a column; or a row lacks something, and `ask.strict`.
    """
    columns = _columns(table, ask)
    image, caption, label, language = columns
    inside = image in table.pictured
    if inside:
        check_groups(table.path, image)
    wanted = [name for name in columns if name and not (name == image and inside)]
    place, some = _Place(table, image, Places(table.path, ask.root)), False
    for row, cells in table.rows(found.bad, wanted):
        lacking = [name for name in wanted if name != language and not _says(cells.get(name))]
        if ask.strict and lacking:
            names = " or ".join(shown(name) for name in wanted if name != language)
            raise DataError(f"{shown(table.path)}: row {row} lacks a value in {names}")
        if image in lacking:
            found.not_read["rows without an image"] += 1
            continue
        captions = texts_of(cells.get(caption) if caption else None)
        if captions is None:
            found.bad.note("row with a caption that is no text", table.path, f"row {row}")
            continue
        some = True
        where = place.of(row, cells)
        of_class = str(cells.get(label) or "").strip() if label else None
        code = str(cells.get(language) or "") if language else ""
        for part in [(one,) for one in captions] if ask.each and captions else [captions]:
            yield Sample(*where, captions=part, label=of_class, language=code)
    if ask.strict and not some:
        raise DataError(f"{shown(table.path)}: a header and no rows")
    used = zip(("images", "captions", "classes"), columns[:3], strict=True)
    told = ", ".join(f"{role} from column {shown(column)}" for role, column in used if column)
    found.told = "; ".join([f"{table.told}: {told}", *place.places.told])


def _columns(table: Table, ask: Ask) -> tuple[str, str, str, str]:
    """Those of images, captions, labels and languages; "" for what is not asked for."""
    image = column_of(table, IMAGE, ask.image_key)
    if is_address(table.first.get(image)):
        raise DataError(addresses_first(table.path))
    caption = column_of(table, CAPTION, ask.caption_key, (image,)) if ask.captions else ""
    label = column_of(table, LABEL, ask.label_key, (image,)) if ask.labels else ""
    language = "language" if ask.captions and "language" in table.columns else ""
    return image, caption, label, language


def _says(cell: Any) -> bool:
    return cell is not None and str(cell).strip() != ""


@dataclass(frozen=True)
class _Place:
    """Where the images of a table's rows lie."""

    table: Table
    image: str
    places: Places

    def of(self, row: int, cells: Mapping[str, Any]) -> tuple[str, int, int, str, str]:
        """Path, offset, size, member and form of a sample."""
        if self.image in self.table.pictured:
            column = self.table.columns.index(self.image)
            return str(self.table.path), row - 1, column, str(row), TABLE.name
        return self.places(str(cells[self.image]).strip()), 0, -1, "", ""


def _claims(source: str, ask: Ask) -> bool:
    """By its suffix; a file of any other is a table if its header tells the column of images."""
    if os.path.isdir(source):
        return False
    suffix = plain_suffix(source)
    if suffix in SUFFIXES or not PurePath(source).suffix:
        return os.path.exists(source) or len(expanded(source)) > 1
    try:
        table = separated(Path(source), ask.separator, (ask.image_key,))
        return column_of(table, IMAGE, ask.image_key) != ""
    except DataError:
        return False


TABLE = Reader("table", f"a table ({', '.join(SUFFIXES)})", _claims, read, load)
