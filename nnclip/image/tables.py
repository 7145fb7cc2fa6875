"""Where pictures are listed: folders, and tables with a column of paths."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from nnclip.errors import DataError

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"}
)


class _Tabs(csv.excel_tab):
    """Captions hold stray quotes: a tab-separated table does not quote."""

    quoting = csv.QUOTE_NONE


def dialect_of(file: TextIO) -> type[csv.Dialect]:
    """How a table at its beginning is written: tabs if its first line holds one, else commas."""
    tabs = "\t" in file.readline()
    file.seek(0)
    return _Tabs if tabs else csv.excel


def picture_files(folder: Path) -> list[Path]:
    """All files in a folder and below that look like pictures, sorted."""
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in PICTURE_SUFFIXES)


def read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table with a header; tabs if the header holds one, else commas.

    Raises:
        DataError: it cannot be read, lacks one of the `needed` columns, or has no rows.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, dialect=dialect_of(file))
            names = list(reader.fieldnames or [])
            missing = [key for key in needed if key not in names]
            if missing:
                raise DataError(
                    f"{path}: no column {', '.join(missing)}; it has {', '.join(names) or 'none'}"
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table ({error})") from error
    if not rows:
        raise DataError(f"{path}: a header and no rows")
    for line, row in enumerate(rows, 2):
        if any(row[key] is None or not row[key].strip() for key in needed):
            raise DataError(f"{path}: row {line} lacks a value in {' or '.join(needed)}")
    return rows


def picture_root(table: Path, first: str) -> Path:
    """What relative paths begin with: the table's folder, or the current one if they are there."""
    return Path() if not (table.parent / first).exists() and Path(first).exists() else table.parent
