"""Captions alone, of whatever source holds some: what a vocabulary is trained on."""

import logging
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile

from nnclip.errors import DataError
from nnclip.files import shown
from nnclip.sources.bad import Bad
from nnclip.sources.captions import texts_of
from nnclip.sources.readers import read_source
from nnclip.sources.rows import CAPTION, IMAGE, Table, column_of
from nnclip.sources.sample import TRAINING, Ask, Found
from nnclip.sources.table import SUFFIXES, open_table
from nnclip.sources.text import open_text, plain_suffix

logger = logging.getLogger(__name__)

LINES = (".txt", "")  # suffixes of tables that may as well hold a caption a line
OTHERS = (".json", ".tar")  # suffixes of sources that are no tables
STDIN = "-"


def read_texts(source: str, column: str, separator: str, max_bad: int) -> Iterator[str]:
    """Every caption of a source: of a table's column, of what train.py reads, or each line.

    Args:
        source: a file or folder; "-" for standard input.
        column: of a table; "" for its usual one, and for lines.
        separator: of a table of text; "" to tell it by the header.
        max_bad: rows and files that may be left out because they cannot be understood.

    Raises:
        DataError: it cannot be read, has no such column, or too much cannot be understood.
    """
    bad, taken = Bad(), 0
    for text in _texts(source, column, separator, bad):
        yield text
        taken += 1
        bad.check(source, max_bad)
    bad.check(source, max_bad, taken)
    if bad:
        logger.warning("%s: left out: %s", shown(source), bad)


def _texts(source: str, column: str, separator: str, bad: Bad) -> Iterator[str]:
    suffix = plain_suffix(source)
    if source == STDIN:
        yield from _stdin(column, separator, bad)
    elif Path(source).is_dir() or suffix in OTHERS:
        yield from _captions(source, column, bad)
    elif (table := _table(source, suffix, column, separator)) is not None:
        yield from _column(table, column, bad)
    else:
        logger.info("%s: found a caption a line", shown(source))
        with open_text(Path(source)) as lines:
            yield from lines


def _table(source: str, suffix: str, column: str, separator: str) -> Table | None:
    """The table; None where each line is a caption."""
    if not column and suffix not in SUFFIXES and suffix not in LINES:
        return None
    table = open_table(Path(source), separator, (IMAGE.default, column or CAPTION.default))
    if column or separator or suffix not in LINES:
        return table
    try:
        column_of(table, CAPTION, taken=(column_of(table, IMAGE),))
    except DataError:
        return None
    return table


def _column(table: Table, column: str, bad: Bad) -> Iterator[str]:
    """The captions of a table; a column that is asked for is taken, or there is none."""
    if column:
        name = column_of(table, replace(CAPTION, default="", known=(), flags="--column"), column)
    else:
        taken = (column_of(table, IMAGE),) if table.headless else ()
        name = column_of(table, CAPTION, taken=taken)
    logger.info("%s: found %s: captions from column %s", shown(table.path), table.told, name)
    for number, cells in table.rows(bad, (name,)):
        texts = texts_of(cells.get(name))
        if texts is None:
            bad.note("row with a caption that is no text", table.path, f"row {number}")
        yield from texts or ()


def _captions(source: str, column: str, bad: Bad) -> Iterator[str]:
    """Those of a source of images."""
    found = Found()
    ask = Ask(captions=True, strict=False, split=TRAINING, caption_key=column or CAPTION.default)
    for sample in read_source(source, ask, found):
        yield from sample.captions
    bad.add(found.bad)
    if found.not_read:
        logger.warning("%s: %s", shown(source), found.not_read.told)


def _stdin(column: str, separator: str, bad: Bad) -> Iterator[str]:
    if not column:
        yield from sys.stdin
        return
    with NamedTemporaryFile("w", suffix=".csv", encoding="utf-8") as file:
        shutil.copyfileobj(sys.stdin, file)
        file.flush()
        yield from _column(open_table(Path(file.name), separator, (column,)), column, bad)
