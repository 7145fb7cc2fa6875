"""Tables with a header, tab- or comma-separated, one of whose columns holds the names of images.

A name is relative to the table's folder, or to the current one where the images are there. A file
name that is no UTF-8 is written in its escaped form, see `nnclip.files`.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from nnclip.errors import DataError
from nnclip.files import to_path
from nnclip.image.tables import dialect_of, each_row, open_table, read_rows, root_of_images
from nnclip.sources.reader import Reader
from nnclip.sources.sample import Ask, Found, Sample

SUFFIXES = (".csv", ".tsv", ".tab", ".txt")


def read(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """A sample for each row."""
    table, root = Path(source), Path(ask.root) if ask.root else None
    needed = [ask.image_key]
    needed += [ask.caption_key] if ask.captions else []
    needed += [ask.label_key] if ask.labels else []
    for row in (read_rows if ask.strict else each_row)(table, needed):
        image = (row[ask.image_key] or "").strip()
        if not image:
            found.not_read["rows without an image"] += 1
            continue
        root = root_of_images(table, image) if root is None else root
        yield Sample(
            str(root / to_path(image)),
            captions=(row[ask.caption_key] or "",) if ask.captions else (),
            label=(row[ask.label_key] or "").strip() if ask.labels else None,
            language=(row.get("language") or "") if ask.captions else "",
        )


def _claims(source: str, ask: Ask) -> bool:
    """By its suffix; a file of any other is a table if its header names the column of images."""
    suffix = PurePath(source).suffix.lower()
    if suffix in SUFFIXES or not suffix:
        return os.path.exists(source)
    try:
        with open_table(Path(source)) as file:
            separator = dialect_of(file).delimiter
            return ask.image_key in file.readline().strip().split(separator)
    except DataError:
        return False


TABLE = Reader("table", f"a table ({', '.join(SUFFIXES)})", _claims, read)
