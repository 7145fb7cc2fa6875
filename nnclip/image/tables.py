"""Tables with a header: comma- or tab-separated text, one of whose columns holds paths."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from nnclip.errors import DataError
from nnclip.files import open_regular, shown, to_path

LONGEST = 1 << 22  # characters of a line: more is no table


class _Tabs(csv.excel_tab):
    """Captions hold stray quotes: a tab-separated table does not quote."""

    quoting = csv.QUOTE_NONE


class _Lines(io.TextIOWrapper):
    """Text whose lines have an end: a file of zeros is one line as long as the file."""

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        line = super().readline(LONGEST)
        if len(line) == LONGEST:
            raise csv.Error(f"found a line of more than {LONGEST:,} characters")
        return line

    def __next__(self) -> str:  # type: ignore[override]
        if line := self.readline():
            return line
        raise StopIteration


@contextmanager
def open_table(path: Path) -> Iterator[TextIO]:
    """A table's text.

    Raises:
        DataError: it is no regular file, cannot be read, or is no text of lines.
    """
    try:
        with open_regular(path) as file, _Lines(file, encoding="utf-8-sig", newline="") as text:
            yield text
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{shown(path)}: cannot be read as a table ({error})") from error


def dialect_of(file: TextIO) -> type[csv.Dialect]:
    """How a table at its beginning is written: tabs if its first line holds one, else commas."""
    tabs = "\t" in file.readline()
    file.seek(0)
    return _Tabs if tabs else csv.excel


def read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table with a header; tabs if the header holds one, else commas.

    Raises:
        DataError: it cannot be read, lacks one of the `needed` columns or a value in them, or has
            no rows.
    """
    rows = list(each_row(path, needed))
    if not rows:
        raise DataError(f"{shown(path)}: a header and no rows")
    for line, row in enumerate(rows, 2):
        if any(row[key] is None or not row[key].strip() for key in needed):
            raise DataError(
                f"{shown(path)}: row {line} lacks a value in {' or '.join(map(shown, needed))}"
            )
    return rows


def each_row(path: Path, needed: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a table one by one; DataError if it cannot be read or lacks a column."""
    with open_table(path) as file:
        reader = csv.DictReader(file, dialect=dialect_of(file))
        names = list(reader.fieldnames or [])
        if missing := [key for key in needed if key not in names]:
            raise DataError(_without(path, names, missing))
        yield from reader


def _without(path: Path, names: list[str], missing: list[str]) -> str:
    if any(name.startswith(("http://", "https://")) for name in names):
        return (
            f"{shown(path)}: found a list of addresses, expected a table of images; first run "
            f"python -m nnclip fetch-pairs {shown(path)} DIR, then name DIR/pairs.csv"
        )
    found = shown(", ".join(names))[:200] or "none"
    return (
        f"{shown(path)}: no column {', '.join(missing)}; it has {found}: name the right one "
        "(--column, --csv-img-key, --csv-caption-key, --label, --caption)"
    )


def root_of_images(table: Path, first: str) -> Path:
    """What relative paths begin with: the table's folder, or the current one if they are there."""
    first = to_path(first)
    return Path() if not (table.parent / first).exists() and Path(first).exists() else table.parent
