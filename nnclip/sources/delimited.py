"""Tables of text, a row a line: separated by commas, tabs, semicolons or bars; JSON lines.

Separated text is read as RFC 4180 writes it. What it does not allow is counted, not guessed: a row
with more fields than the header, a quote that does not close. Tables separated by tabs may hold
quotes that mean nothing.
"""

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from nnclip.errors import ConfigError
from nnclip.sources.bad import Bad
from nnclip.sources.rows import CAPTION, IMAGE, URL, Row, Table, is_address, names_image
from nnclip.sources.text import open_text

SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}
BY_NAME = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|"}
MOST_LINES = 64  # of a field in quotes
_KNOWN = frozenset((*IMAGE.known, *CAPTION.known, *URL.known))
_ZERO = "row with a zero byte"
_OPEN = "row with a quote that does not close"
_QUOTE_THEM = "; quote fields that hold the separator, or name it (--separator)"


def separator_of(flag: str) -> str:
    """The one character that `--separator` means; "" for none. ConfigError if it is not one."""
    separator = BY_NAME.get(flag, flag)
    if len(separator) > 1 or separator in ("\n", "\r", '"'):
        raise ConfigError(f"--separator: found {flag!r}, expected one character, or tab")
    return separator


def separated(path: Path, asked: str, wanted: Sequence[str]) -> Table:
    """A table of separated text.

    Args:
        path: of the file.
        asked: its separator; "" to tell it by the header.
        wanted: names of columns that tell the separator.

    Raises:
        DataError: it cannot be read as text.
    """
    asked = separator_of(asked)
    with open_text(path, "a table") as text:
        lines = _Ahead(text)
        while (lines.ahead(0) or "-").isspace():
            lines.take()
        start = (lines.ahead(0) or "").rstrip("\n")
        if start.lower().startswith("sep=") and len(start) == 5:  # of a spreadsheet
            lines.take()
            asked = asked or start[4]
        skip = lines.number
        separator = asked or _told_by(lines.ahead(0) or "", wanted)
        records = _records(lines, separator, 0)
        _, header = next(records, (0, []))
        _, second = next(records, (0, []))
    names = [cell.strip() for cell in header] if isinstance(header, list) else []
    headless = not {*wanted} & {*names} and any(is_address(c) or names_image(c) for c in names)
    columns = tuple(
        str(number) if headless else f"{name} ({number})" if names.count(name) > 1 else name
        for number, name in enumerate(names, 1)
    )
    first = names if headless else second if isinstance(second, list) else []
    named = SEPARATORS.get(separator, repr(separator))
    return Table(
        path,
        f"a table{' without a header' if headless else ''}, separated by {named}",
        columns,
        dict(zip(columns, first, strict=False)),
        partial(_rows, path, separator, columns, skip, headless),
        headless,
    )


def _told_by(line: str, wanted: Sequence[str]) -> str:
    """The separator with which a header has the most names that are known; else the first in it."""

    def known(separator: str) -> int:
        names = {name.strip().strip('"') for name in line.split(separator)}
        return len(names & {*wanted}) * 9 + len({name.lower() for name in names} & _KNOWN)

    return max((s for s in SEPARATORS if s in line), key=known, default=",")


def _rows(
    path: Path,
    separator: str,
    columns: tuple[str, ...],
    skip: int,
    headless: bool,
    bad: Bad,
    wanted: Sequence[str],
) -> Iterator[Row]:
    width = len(columns)
    least = max((columns.index(name) + 1 for name in wanted), default=0)
    with open_text(path, "a table") as text:
        lines = _Ahead(text)
        for _line in range(skip):
            lines.take()
        records = _records(lines, separator, width)
        if not headless:
            next(records, None)
        for number, fields in records:
            if isinstance(fields, str):
                bad.note(fields, path, f"row {number}", _QUOTE_THEM if fields is _OPEN else "")
            elif len(fields) > width and any(cell.strip() for cell in fields[width:]):
                bad.note("row with more fields than the header", path, f"row {number}", _QUOTE_THEM)
            elif len(fields) < least and not bad.strict:  # else who reads it names what it lacks
                bad.note("row with fewer fields than the header", path, f"row {number}")
            else:
                yield number, dict(zip_longest(columns, fields[:width]))


class _Ahead:
    """Lines that can be looked at before they are taken.

    Attributes:
        number: of the last line that was taken, from 1.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines, self._waiting, self.number = iter(lines), deque[str](), 0

    def ahead(self, index: int) -> str | None:
        """The line that comes after `index` others; None behind the end."""
        while len(self._waiting) <= index:
            line = next(self._lines, None)
            if line is None:
                return None
            self._waiting.append(line)
        return self._waiting[index]

    def take(self) -> str | None:
        line = self.ahead(0)
        if line is not None:
            self._waiting.popleft()
            self.number += 1
        return line


def _records(lines: _Ahead, separator: str, width: int) -> Iterator[tuple[int, list[str] | str]]:
    """The number of each record's first line, and its fields or what is wrong with it."""
    while (line := lines.take()) is not None:
        number = lines.number
        if line.strip():
            yield number, _fields(line, lines, separator, width)


def _fields(line: str, lines: _Ahead, separator: str, width: int) -> list[str] | str:
    """The fields of the record that begins with `line`; takes the lines it goes on in."""
    if "\0" in line:
        return _ZERO
    plain = line.rstrip("\n").split(separator)
    if '"' not in line:
        return plain
    text, more, fields = line, 0, list[str]()
    while not fields:
        try:
            fields = next(
                csv.reader(
                    [text],
                    delimiter=separator,
                    strict=True,
                    skipinitialspace=separator not in "\t ",
                )
            )
        except csv.Error as error:
            following = lines.ahead(more) if more < MOST_LINES else None
            if "unexpected end" not in str(error) or following is None or "\0" in following:
                break
            text, more = text + following, more + 1
    swallowed = [
        other
        for other in text.split("\n")[1:]
        if len(cells := other.split(separator)) == width
        and (separator == "\t" or any(is_address(c) or names_image(c) for c in cells))
    ]
    as_plain = separator == "\t" and len(plain) == width
    if fields and not swallowed and not (as_plain and len(fields) != width):
        for _ in range(more):
            lines.take()
        return fields
    return plain if as_plain else _OPEN


def json_lines(path: Path) -> Table:
    """A table whose rows are JSON objects, one a line."""
    columns: dict[str, None] = {}
    first: dict[str, Any] = {}
    probe = Bad()
    for index, (_, row) in enumerate(_json_rows(path, probe, ())):
        first = first or dict(row)
        columns.update(dict.fromkeys(row))
        if index == 99:
            break
    return Table(path, "JSON lines", tuple(columns), first, partial(_json_rows, path))


def _json_rows(path: Path, bad: Bad, _: Sequence[str]) -> Iterator[Row]:
    with open_text(path, "JSON lines") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                yield number, row
            else:
                bad.note("row with no JSON object", path, f"row {number}")


def records_of(path: Path, records: list[Any]) -> Table:
    """A table whose rows are the objects of a list in a JSON file."""
    objects = [record for record in records if isinstance(record, dict)]
    columns = dict.fromkeys(key for record in objects for key in record)

    def rows(bad: Bad, _: Sequence[str]) -> Iterator[Row]:
        for number, record in enumerate(records, 1):
            if isinstance(record, dict):
                yield number, record
            else:
                bad.note("row with no JSON object", path, f"row {number}")

    return Table(path, "a list of JSON objects", tuple(columns), next(iter(objects), {}), rows)
