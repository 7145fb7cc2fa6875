"""A contact sheet: found images as one HTML file that needs no other."""

import base64
import logging
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from nnclip.errors import DataError
from nnclip.files import shown, to_path
from nnclip.image import open_image
from nnclip.search.hits import Hit
from nnclip.search.shards import item_of
from nnclip.search.writing import write_text

logger = logging.getLogger(__name__)

SIDE = 320  # pixels of a thumbnail
_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root{{color-scheme:light dark}}
body{{font:14px/1.4 system-ui,sans-serif;margin:1.5rem}}
ul{{display:grid;grid-template-columns:repeat(auto-fill,minmax(12rem,1fr));gap:1rem;padding:0}}
li{{list-style:none}}
img{{width:100%;aspect-ratio:1;object-fit:contain;background:#8882}}
p{{margin:.3rem 0;overflow-wrap:anywhere}}
small{{opacity:.75}}
</style>
"""


def write_sheet(path: Path, groups: Sequence[tuple[str, Sequence[Hit]]]) -> int:
    """Write the hits of some queries, each under its title.

    Returns:
        How many images could not be read; they have no thumbnail.

    Raises:
        DataError: the file cannot be written.
    """
    unread = 0
    parts = [_HEAD.format(title=escape(", ".join(title for title, _ in groups)))]
    for title, hits in groups:
        parts.append(f"<h1>{escape(shown(title))}</h1><ul>")
        for hit in hits:
            source = _thumbnail(hit.record)
            unread += not source
            parts.append(_figure(hit, source))
        parts.append("</ul>")
    write_text(path, "".join(parts) + "\n")
    return unread


def _figure(hit: Hit, source: str) -> str:
    record: dict[str, Any] = hit.record
    name = escape(shown(record["image"]))
    standing = "" if hit.percentile is None else f", better than {hit.percentile:.5g} %"
    said = [record[key] for key in ("taken", "camera") if record.get(key)]
    if record.get("width"):
        said.append(f"{record['width']} x {record['height']}")
    image = f'<img src="{source}" alt="" loading="lazy">' if source else "cannot be read"
    return (
        f'<li><a href="{escape(_address(record))}" title="{name}">{image}</a>'
        f"<p>{escape(shown(Path(record['image']).name))}</p>"
        f"<p><small>cosine {hit.cosine:.3f}{standing}</small></p>"
        f"<p><small>{escape(shown(', '.join(said)))}</small></p></li>"
    )


def _address(record: dict[str, Any]) -> str:
    """The file that holds the image."""
    return Path(to_path(record["path"])).absolute().as_uri()


def _thumbnail(record: dict[str, Any]) -> str:
    """A data: URI; "" if the image cannot be read."""
    try:
        content = item_of(record).read()[0]
        image = _small(content)
    except DataError as error:
        logger.warning("%s", error)
        return ""
    sink = BytesIO()
    image.save(sink, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode()


def _small(content: bytes) -> Image.Image:
    image = open_image(content, side=SIDE, of="longest")
    image.thumbnail((SIDE, SIDE))
    return image.convert("RGB")
