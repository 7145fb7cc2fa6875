"""Writes drawn pairs to disk: image files with a table of captions, or WebDataset shards."""

import csv
import io
import json
import multiprocessing
import os
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from nnclip.drawing import ALL_LANGUAGES, compose, describe, paint
from nnclip.drawing.captions import language_of, name_of
from nnclip.drawing.catalogue import Drawable, shapes, things, workers
from nnclip.drawing.contents import GROUP, USUAL, Recipe
from nnclip.drawing.glyphs import emoji_font
from nnclip.errors import ConfigError

TABLE = "pairs.csv"
PICTURES = "pictures"
FORMATS = ("jpg", "png", "webp")
CHUNK = 1000  # images a task, a folder, a shard
Row = dict[str, str]


@dataclass(frozen=True)
class Order:
    """What to draw.

    Args:
        folder: where to; made if need be.
        count: how many images.
        seed: see `nnclip.drawing.draw_pair`.
        split: one of `nnclip.drawing.SPLITS`.
        size: pixels.
        format: one of FORMATS.
        languages: codes to choose from; one given twice is seen twice as often.
        captions: rows an image, each in a language of its own choice; 0 for one in each language.
        start: index of the first image, to draw more of the same seed.
        recipe: what `train` is mixed from.
    """

    folder: Path
    count: int
    seed: int = 0
    split: str = "train"
    size: int = 224
    format: str = "jpg"
    languages: tuple[str, ...] = ALL_LANGUAGES
    captions: int = 1
    start: int = 0
    recipe: Recipe = USUAL

    def check(self) -> None:
        """Refuse what cannot be drawn before a worker starts.

        Raises:
            ConfigError: an unknown split, language or format, or a number out of range.
            DataError: the emoji font or Pillow's layout engine is missing.
        """
        if self.format not in FORMATS:
            raise ConfigError(f"unknown format {self.format!r}: expected {', '.join(FORMATS)}")
        least = {"count": 1, "size": 16, "captions": 0, "start": 0}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected at least {limit}")
        if not self.languages:
            raise ConfigError(f"no language given: expected some of {', '.join(ALL_LANGUAGES)}")
        for code in self.languages:
            language_of(code)
        compose(self.split, self.seed, self.start)
        emoji_font()

    def choices(self) -> list[tuple[str, ...]]:
        """For each caption of an image, the languages that it may be in."""
        if self.captions:
            return [self.languages] * self.captions
        return [(code,) for code in dict.fromkeys(self.languages)]

    def chunks(self) -> list[range]:
        """The indices in runs that end at multiples of CHUNK."""
        stop = self.start + self.count
        first = self.start // CHUNK * CHUNK
        marks = range(first, stop, CHUNK)
        return [range(max(mark, self.start), min(mark + CHUNK, stop)) for mark in marks]


def write_table(order: Order, workers: int = 1) -> Iterator[int]:
    """Write FOLDER/pictures/... and FOLDER/pairs.csv (tab-separated, header `filepath title ...`).

    `filepath` is relative to the table. The table appears when all images are there. Beside it,
    FOLDER/KIND.LANGUAGE.txt lists the names of all things, workers and shapes: the classes among
    which an image's `label` can be looked for.

    Args:
        order: what to draw.
        workers: processes; the result is the same for any number.

    Yields:
        How many more images are done.
    """
    order.check()
    order.folder.mkdir(parents=True, exist_ok=True)
    unfinished = order.folder / f"{TABLE}.part"
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        writer: csv.DictWriter[str] | None = None
        for rows in _run(partial(_draw_files, order), order.chunks(), workers):
            if writer is None:
                writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
                writer.writeheader()
            writer.writerows(rows)
            yield len(rows) // len(order.choices())
    _write_classes(order)
    os.replace(unfinished, order.folder / TABLE)


def _write_classes(order: Order) -> None:
    lists: dict[str, Sequence[Drawable]] = {
        "things": things(),
        "workers": workers(),
        "shapes": shapes(),
    }
    for code in dict.fromkeys(order.languages):
        for kind, drawables in lists.items():
            names = [name_of(what, code) for what in drawables]
            path = order.folder / f"{kind}.{code}.txt"
            path.write_text("\n".join(names) + "\n", encoding="utf-8")


def write_shards(order: Order, workers: int = 1) -> Iterator[int]:
    """Write FOLDER/pairs-000000.tar ...: WebDataset shards of `.jpg` (or so), `.txt` and `.json`.

    `.txt` holds the first caption, `.json` the list `captions` and the columns of the table.

    Yields:
        How many more images are done.
    """
    order.check()
    order.folder.mkdir(parents=True, exist_ok=True)
    yield from _run(partial(_draw_shard, order), order.chunks(), workers)


def _run(task: partial, chunks: list[range], workers: int) -> Iterator:  # type: ignore[type-arg]
    """The results of all chunks, in order."""
    if workers == 1 or len(chunks) == 1:
        yield from map(task, chunks)
        return
    # spawned, not forked: the caller may have started threads (NNabla, MPI)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(chunks)), mp_context=context) as pool:
        yield from pool.map(task, chunks)


def _encoded(picture: Image.Image, format: str) -> bytes:
    buffer = io.BytesIO()
    if format == "jpg":  # full colour resolution: small red shapes on blue ground must stay red
        picture.save(buffer, "JPEG", quality=92, subsampling=0)
    elif format == "png":
        picture.save(buffer, "PNG", compress_level=6)
    else:
        picture.save(buffer, "WEBP", quality=90, method=2)
    return buffer.getvalue()


def _drawn(order: Order, index: int) -> tuple[bytes, list[Row]]:
    """One image's file and its rows, each with `title` first."""
    scene = compose(order.split, order.seed, index, order.recipe)
    rows = []
    for variant, languages in enumerate(order.choices()):
        caption, record = describe(scene, languages, variant)
        rows.append({"title": caption, **record})
    return _encoded(paint(scene, order.size), order.format), rows


def _draw_files(order: Order, indices: range) -> list[Row]:
    folder = Path(PICTURES) / f"{indices[0] // CHUNK:04d}"
    (order.folder / folder).mkdir(parents=True, exist_ok=True)
    rows: list[tuple[tuple[int, int], Row]] = []
    for index in indices:
        data, captions = _drawn(order, index)
        path = folder / f"{index:08d}.{order.format}"
        (order.folder / path).write_bytes(data)
        for variant, row in enumerate(captions):
            # first captions of a whole group, then second ones: GROUP rows are GROUP images
            rows.append(((index // GROUP, variant), {"filepath": path.as_posix(), **row}))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])]


def _draw_shard(order: Order, indices: range) -> int:
    path = order.folder / f"pairs-{indices[0] // CHUNK:06d}.tar"
    unfinished = path.with_suffix(".tar.part")
    with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as shard:
        for index in indices:
            data, rows = _drawn(order, index)
            about = {**rows[0], "captions": [row["title"] for row in rows]}
            files = {
                order.format: data,
                "txt": rows[0]["title"].encode(),
                "json": json.dumps(about, ensure_ascii=False).encode(),
            }
            for suffix, content in files.items():
                entry = tarfile.TarInfo(f"{index:08d}.{suffix}")
                entry.size = len(content)
                shard.addfile(entry, io.BytesIO(content))
    os.replace(unfinished, path)
    return len(indices)
