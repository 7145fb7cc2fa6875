"""Rows of tables, whatever they are written in, and which of their columns is meant."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from nnclip.errors import DataError
from nnclip.files import shown
from nnclip.image.formats import image_suffixes
from nnclip.sources.bad import Bad

Row: TypeAlias = tuple[int, Mapping[str, Any]]  # its number in the file, and its cells by column
ADDRESS = re.compile(r"(https?|s3|gs|ftp)://", re.IGNORECASE)
NUMBERED = re.compile(r"#\d+$")  # Flickr's token files: 1000.jpg#0


@dataclass(frozen=True)
class Table:
    """A table: its columns, and how to read its rows.

    Attributes:
        path: of the file.
        told: what it is, for people.
        columns: their names, each once; "1", "2", ... where it has no header.
        first: the cells of the first row, by column.
        rows: takes where to count what cannot be understood, and the columns that are wanted.
        headless: whether its first line is a row.
        pictured: columns that hold the images themselves.
    """

    path: Path
    told: str
    columns: tuple[str, ...]
    first: Mapping[str, Any]
    rows: Callable[[Bad, Sequence[str]], Iterator[Row]]
    headless: bool = False
    pictured: tuple[str, ...] = ()


@dataclass(frozen=True)
class Role:
    """What a column is for.

    Attributes:
        name: of the role, for people.
        flags: that name its column.
        default: the column where none is asked for.
        known: names that data sets use, lower case; one of them is taken if it is the only one.
        holds: whether a cell can play the role, where names do not tell.
    """

    name: str
    flags: str
    default: str
    known: tuple[str, ...] = ()
    holds: Callable[[Any], bool] | None = None


def is_address(cell: Any) -> bool:
    """Whether a cell is an address."""
    return isinstance(cell, str) and ADDRESS.match(cell.strip()) is not None


def names_image(cell: Any) -> bool:
    """Whether a cell reads like the name of an image file."""
    if not isinstance(cell, str) or is_address(cell):
        return False
    return PurePath(NUMBERED.sub("", cell.strip())).suffix.lower() in image_suffixes()


_NAMES = (
    *("image", "image_path", "img_path", "image_file", "image_name", "image_filename"),
    *("file_name", "filename", "file_path", "jpg", "jpeg", "png", "webp"),
)
_CAPTIONS = ("caption", "captions", "text", "texts", "comment", "sentence", "description", "txt")
_ADDRESSES = ("url", "image_url", "img_url", "imageurl", "link", "uri")

IMAGE = Role("images", "--csv-img-key, --column", "filepath", ("filepath", *_NAMES), names_image)
CAPTION = Role("captions", "--csv-caption-key, --column, --caption", "title", ("title", *_CAPTIONS))
LABEL = Role("classes", "--label", "label")
URL = Role("addresses", "--url-column", "", _ADDRESSES, is_address)
URL_CAPTION = Role("captions", "--caption-column", "", ("title", *_CAPTIONS, "top_caption"))


def column_of(table: Table, role: Role, asked: str = "", taken: Sequence[str] = ()) -> str:
    """The column that plays a role.

    In this order: the one that is asked for, by name or by number; the role's default; the only
    one with a name that data sets use; the only one whose first cell can play it, if no name
    tells; the only one that plays no other role.

    Args:
        table: it.
        role: to be played.
        asked: a name or a number; "" or the role's default for none.
        taken: columns that play others.

    Raises:
        DataError: there is none, or several are as good.
    """
    asked, columns = asked or role.default, table.columns
    if asked and asked in columns:
        return asked
    if asked.isdecimal() and 0 < int(asked) <= len(columns):
        return columns[int(asked) - 1]
    if asked == role.default:
        free = [column for column in columns if column not in taken]
        known = [column for column in free if column.strip().lower() in role.known]
        holding = [c for c in free if role.holds is not None and role.holds(table.first.get(c))]
        choices = [known]
        if not role.default or (table.headless and len(columns) == 2):
            choices.append(free if role.holds is None else holding)
        for choice in choices:
            if len(choice) == 1:
                return choice[0]
            if choice:
                break
    raise DataError(_without(table, role, asked))


def _without(table: Table, role: Role, asked: str) -> str:
    where, flag = shown(table.path), role.flags.split(",")[0]
    if role not in (URL, URL_CAPTION) and any(map(is_address, table.first.values())):
        return addresses_first(table.path)
    if table.headless:
        cells = " | ".join(str(cell)[:40] for cell in table.first.values())
        return (
            f"{where}: found no header, the first row is {shown(cells)}; name the columns of "
            f"{role.name} and the others by number, as in {flag} 1"
        )
    found = shown(", ".join(table.columns))[:200] or "none"
    missing = f"no column {shown(asked)}" if asked else f"no one column of {role.name}"
    return f"{where}: {missing}; it has {found}: name the right one ({role.flags})"


def addresses_first(path: Path) -> str:
    """What to say of a list of addresses where images are expected."""
    return (
        f"{shown(path)}: found a list of addresses, expected a table of images; first run "
        f"nnclip fetch-pairs {shown(path)} DIR, then name DIR/pairs.csv"
    )
