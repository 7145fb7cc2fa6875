"""A map of a collection: images on a plane, as one HTML file that needs no other."""

import base64
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from nnclip.errors import DataError
from nnclip.files import shown, to_path
from nnclip.image import open_image
from nnclip.search.shards import item_of
from nnclip.search.writing import write_text

logger = logging.getLogger(__name__)

TILE = 96  # pixels of a thumbnail
ACROSS = 16  # thumbnails along a side of a sheet
TEMPLATE = Path(__file__).with_name("map.html")
DATA, TITLE = "/*DATA*/null", "<!--TITLE-->"


@dataclass(frozen=True)
class MapData:
    """What a map shows.

    Attributes:
        title: over it.
        records: of N images, see `nnclip.search.shards`.
        places: (N, 2), 0 to 1.
        clusters: (N,) the cluster of each image.
        names: words of each cluster.
        sizes: images of each cluster, also those that are not shown.
    """

    title: str
    records: Sequence[dict[str, Any]]
    places: np.ndarray
    clusters: np.ndarray
    names: Sequence[Sequence[str]]
    sizes: Sequence[int]


def write_map(path: Path, data: MapData) -> int:
    """Write the map; returns how many images could not be read, and are grey.

    Raises:
        DataError: the file cannot be written.
    """
    sheets, unread = list[str](), 0
    bar = tqdm(total=len(data.records), desc="thumbnails", unit="image", disable=None)
    with bar:
        for start in range(0, len(data.records), ACROSS**2):
            part = data.records[start : start + ACROSS**2]
            sheet = Image.new("RGB", (ACROSS * TILE, -(-len(part) // ACROSS) * TILE), "#888888")
            for number, tile in enumerate(_tiles(part)):
                bar.update()
                if tile is None:
                    unread += 1
                    continue
                row, column = divmod(number, ACROSS)
                sheet.paste(tile, (column * TILE, row * TILE))
            sink = BytesIO()
            sheet.save(sink, "JPEG", quality=78)
            sheets.append("data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode())
    told = {
        "tile": TILE,
        "across": ACROSS,
        "sheets": sheets,
        "points": [
            [round(float(x), 4), round(float(y), 4), int(cluster)]
            for (x, y), cluster in zip(data.places, data.clusters, strict=True)
        ],
        "names": [shown(Path(record["image"]).name) for record in data.records],
        "files": [_address(record) for record in data.records],
        "clusters": [
            {"words": list(words), "size": int(size)}
            for words, size in zip(data.names, data.sizes, strict=True)
        ],
    }
    # what ends a script or begins a comment in HTML
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    page = TEMPLATE.read_text(encoding="utf-8").replace(TITLE, escape(data.title))
    write_text(path, page.replace(DATA, text))
    return unread


def _tiles(records: Sequence[dict[str, Any]]) -> Iterator[Image.Image | None]:
    """The middle square of each image, TILE pixels wide; None where it cannot be read."""
    for record in records:
        try:
            content = item_of(record).read()[0]
            image = open_image(content, side=TILE).convert("RGB")
        except DataError as error:
            logger.warning("%s", error)
            yield None
            continue
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = (left, top, left + side, top + side)
        yield image.resize((TILE, TILE), Image.Resampling.BICUBIC, square)


def _address(record: dict[str, Any]) -> str:
    """The file that holds the image."""
    return Path(to_path(record["path"])).absolute().as_uri()
