"""Features of frozen towers: computed once, kept on disk, mapped into memory.

NAME-KEY.npy holds one row for each image or text; NAME-KEY.json beside it says how many rows are
done, so that a call which was interrupted goes on. KEY is a hash of all that the rows depend on:
the tower's parameters, how its input is prepared, the list of images (with their sizes and dates)
or texts. What is stale has another key, and is never read.

Axes: N batch, P rows, W width of the tower's features.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from tqdm import tqdm

from nnclip.errors import ConfigError, DataError, NnclipError
from nnclip.graph.heads import IMAGE_HEAD, TEXT_HEAD
from nnclip.graph.parameters import flatten
from nnclip.locks import held
from nnclip.preflight import check_room
from nnclip.training.data.decode import Recipe
from nnclip.training.data.loader import Loader
from nnclip.training.data.pairs import Draw, Pair, PairTable
from nnclip.weights.h5 import write_whole
from nnclip.weights.model import ModelWeights

logger = logging.getLogger(__name__)

BATCH = 32  # rows that a tower computes at once
BLOCK = 1024  # rows between two notes of what is done

Block = tuple[np.ndarray, dict[int, str]]  # features (N, W); row -> what is wrong with it


@dataclass(frozen=True)
class Tower:
    """A frozen tower.

    Attributes:
        identity: tells it, and how its input is prepared, from all others.
        encode: images (N, 3, R, R), or a list of N texts, -> features (N, W).
    """

    identity: str
    encode: Callable[[Any], np.ndarray]


@dataclass(frozen=True)
class Features:
    """What a cache holds.

    Attributes:
        rows: (P, W) float16 or float32, mapped.
        broken: row -> what is wrong with it; the row holds another's features.
    """

    rows: np.ndarray
    broken: dict[int, str]


@dataclass(frozen=True)
class FeatureCache:
    """A folder of features.

    Attributes:
        folder: where they lie.
        half: keep float16 instead of float32.
        workers: processes that decode images; 0 for none but this one.
        complete: refuse to compute; for all but one of several processes.
    """

    folder: Path
    half: bool = False
    workers: int = 0
    complete: bool = False

    def images(self, table: PairTable, recipe: Recipe, tower: Tower) -> Features:
        """Features of the image of each row of `table`.

        Raises:
            DataError: no image can be read, or the folder cannot be written.
            ConfigError: something is missing, and `complete`.
        """
        stamps = (_stamp(table[row]) for row in range(len(table)))
        key = _hash([tower.identity, repr(recipe)], stamps)

        def blocks(done: int) -> Iterator[Block]:
            with Loader(table, recipe, BATCH, workers=self.workers) as loader:
                spans = ([Draw(0, 0, row) for row in part] for part in _parts(done, len(table)))
                at = done
                for raw in loader.batches(spans):
                    reasons = {at + i: raw.broken[table[at + i].name] for i in raw.replaced}
                    yield tower.encode(raw.images), reasons
                    at += len(raw.images)

        return self._have("image", key, len(table), blocks)

    def texts(self, texts: Sequence[str], tower: Tower) -> Features:
        """Features of each text; errors as for `images`."""

        def blocks(done: int) -> Iterator[Block]:
            for part in _parts(done, len(texts)):
                yield tower.encode([texts[row] for row in part]), {}

        key = _hash([tower.identity], texts)
        return self._have("text", key, len(texts), blocks)

    def _have(
        self, name: str, key: str, count: int, blocks: Callable[[int], Iterable[Block]]
    ) -> Features:
        """The features under this key, computed where they are not there yet."""
        path, kind = self._place(name, key)
        note = _read_note(path)
        if note["done"] < count and self.complete:
            raise ConfigError(
                f"{path}: found {note['done']} of {count} rows; on several ranks features have to "
                "be there already: first run nnclip cache-features on one process"
            )
        try:
            if note["done"] < count:
                self.folder.mkdir(parents=True, exist_ok=True)
                with held(path.with_suffix(".lock"), _busy(path)):
                    note = _fill(path, _read_note(path), count, kind, blocks)
            rows = np.load(path, mmap_mode="r")
        except NnclipError:
            raise
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path}: cannot be written or read ({error}); free some space, or remove the file "
                "to let it be made again"
            ) from error
        return Features(rows, {int(row): reason for row, reason in note["broken"].items()})

    def _place(self, name: str, key: str) -> tuple[Path, np.dtype]:
        """The file of these rows, and the kind of its numbers."""
        kind = np.dtype("<f2" if self.half else "<f4")
        return self.folder / f"{name}-{key}-{kind.name}.npy", kind


@dataclass(frozen=True)
class RehearsedCache(FeatureCache):
    """A cache that computes two batches of what it lacks, keeps none, and says what all would take.

    Attributes:
        told: what has been asked for: name, rows, rows that are there, seconds and bytes for the
            others.
    """

    told: list[dict[str, Any]] = field(default_factory=list)

    def _have(
        self, name: str, key: str, count: int, blocks: Callable[[int], Iterable[Block]]
    ) -> Features:
        path, kind = self._place(name, key)
        done, seconds, width = _read_note(path)["done"], 0.0, 0
        if done < count:
            began = time.monotonic()
            for rows, _ in islice(blocks(done), 2):  # the first one compiles
                seconds, began = time.monotonic() - began, time.monotonic()
                width = rows.shape[1]
            seconds *= (count - done) / min(BATCH, count - done)
        else:
            width = np.load(path, mmap_mode="r").shape[1]
        about = {"rows": count, "there": done, "seconds": seconds}
        self.told.append({"name": name, **about, "bytes": (count - done) * width * kind.itemsize})
        return Features(np.broadcast_to(np.zeros((), kind), (count, width)), {})


def _busy(path: Path) -> str:
    return (
        f"{path}: found another process that computes these features, expected none; wait for its "
        "end, and use what it has made"
    )


def _parts(start: int, end: int) -> Iterator[range]:
    return (range(at, min(at + BATCH, end)) for at in range(start, end, BATCH))


def _hash(parts: Sequence[str], rows: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in (*parts, *rows):
        content = part.encode("utf-8", "surrogateescape")
        digest.update(b"%d:%b" % (len(content), content))
    return digest.hexdigest()[:16]


def _stamp(pair: Pair) -> str:
    """Tells an image from another one that lies at the same place later."""
    try:
        status = os.stat(pair.path)
    except OSError:
        return f"{pair.name} missing"
    return f"{pair.name} {pair.size} {status.st_size} {status.st_mtime_ns}"


def _read_note(path: Path) -> dict[str, Any]:
    """How many rows of a cache are done, and which are broken."""
    try:
        note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return note if path.exists() else {"done": 0, "broken": {}}
    except (OSError, ValueError):
        return {"done": 0, "broken": {}}


def _fill(
    path: Path,
    note: dict[str, Any],
    count: int,
    kind: np.dtype,
    blocks: Callable[[int], Iterable[Block]],
) -> dict[str, Any]:
    """Compute the rows that a cache lacks; returns the note of the whole one."""
    done, noted, broken = note["done"], note["done"], dict(note["broken"])
    bar = tqdm(total=count, initial=done, desc=path.stem, unit="row", disable=None)
    with open(path, "r+b" if done else "wb") as file, bar:
        try:
            for rows, reasons in blocks(done):
                if done == noted == note["done"]:
                    left = (count - done) * rows.shape[1] * kind.itemsize
                    check_room(path, left, "the features", "--output")
                    _go_to(file, done, (count, rows.shape[1]), kind)
                file.write(np.ascontiguousarray(rows, kind).data)
                done += len(rows)
                broken |= {str(row): reason for row, reason in reasons.items()}
                bar.update(len(rows))
                if done - noted >= BLOCK:
                    noted = _note_done(file, path, done, count, broken)
        except KeyboardInterrupt:
            noted = _note_done(file, path, done, count, broken) if done > noted else noted
            logger.warning("%s: %d of %d rows are kept: call it again", path, done, count)
            raise
        if done > noted:
            _note_done(file, path, done, count, broken)
    return {"done": done, "broken": broken}


def _note_done(file: BinaryIO, path: Path, done: int, count: int, broken: dict[str, str]) -> int:
    """Make sure that the rows are on disk, then note it; returns how many there are."""
    file.flush()
    os.fsync(file.fileno())
    _write_note(path, {"done": done, "of": count, "broken": broken})
    return done


def _go_to(file: BinaryIO, row: int, shape: tuple[int, int], kind: np.dtype) -> None:
    """Write the header of an .npy, or skip it, and all rows before this one."""
    if row == 0:
        header = {"descr": kind.str, "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(file, header)
        return
    npy.read_magic(file)
    if npy.read_array_header_1_0(file)[0] != shape:
        raise ValueError(f"holds rows of another shape than {shape}")
    file.seek(file.tell() + row * shape[1] * kind.itemsize)
    file.truncate()


def _write_note(path: Path, note: dict[str, Any]) -> None:
    def fill(temporary: str) -> None:
        Path(temporary).write_text(json.dumps(note, ensure_ascii=False), encoding="utf-8")

    write_whole(path.with_suffix(".json"), fill)


def tower_identity(weights: ModelWeights, side: str, *how: str) -> str:
    """A hash of one tower's parameters and configuration.

    Args:
        weights: the model.
        side: `image` or `text`.
        how: what else its features depend on, such as the precision of the computation.
    """
    heads = (f"{IMAGE_HEAD}/", f"{TEXT_HEAD}/", "logit_")
    digest = hashlib.sha256(repr((getattr(weights.config, side), how)).encode())
    for name in sorted(flatten(weights.scope)):
        if not name.startswith(heads) and name.startswith("visual/") == (side == "image"):
            array = weights.array(name)
            digest.update(f"{name} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array, np.float32).data)
    weights.give_back()
    return digest.hexdigest()
