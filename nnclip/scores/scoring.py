"""Cosines of pairs, block by block, by one process or several, going on where a crash stopped it.

Axes: N images, P pairs, E embedding.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from nnclip.errors import DataError
from nnclip.evaluate.ranks import Ranks
from nnclip.files import shown, to_name
from nnclip.graph.losses import Scorer
from nnclip.image import Decoding
from nnclip.scores.table import Scores
from nnclip.scores.writing import text_only
from nnclip.search.duplicates import duplicate_groups
from nnclip.search.embed import batches, embed_decoded, progress
from nnclip.search.feed import Feed
from nnclip.search.manifest import Model
from nnclip.search.rows import unit_rows
from nnclip.search.sources import Item
from nnclip.search.writing import write_file
from nnclip.training.data.pairs import Pair, PairTable

logger = logging.getLogger(__name__)

BLOCK = 512  # images between two notes of what is done
TEXTS = 64  # captions that the model gets at once


@dataclass(frozen=True)
class Task:
    """What is scored, and how.

    Attributes:
        pairs: a row for each image, with all its captions.
        model: what embeds.
        decoding: how images are read.
        workers: processes that decode images, for each of several processes.
        batch: images that the model gets at once.
        near: cosine from which two images are near-duplicates; 0 to look for none.
    """

    pairs: PairTable
    model: Model
    decoding: Decoding
    workers: int
    batch: int
    near: float

    def key(self) -> str:
        """What tells the parts of this task from those of any other."""
        model = self.model
        how = f"{model.digest()} {model.precision} {self.decoding} {model.config.image.preprocess}"
        digest = hashlib.sha256(how.encode())
        for row in range(len(self.pairs)):
            pair = self.pairs[row]
            try:
                status = os.stat(pair.path)
                state = f"{status.st_size} {status.st_mtime_ns}"
            except OSError:
                state = "missing"
            digest.update(f"{pair!r} {state}\n".encode("utf-8", "backslashreplace"))
        return digest.hexdigest()[:16]


def score(task: Task, folder: Path, ranks: Ranks) -> Scores | None:
    """The scores of all pairs, on rank 0; None on the others.

    Args:
        task: what to score.
        folder: for what is done so far; it is removed when all is.
        ranks: the processes that share the work.

    Raises:
        DataError: no image can be read, a worker died, or the folder cannot be written.
    """
    parts = folder / task.key()
    count = -(-len(task.pairs) // BLOCK)

    def work() -> list[int]:
        done = sum((parts / _name(number)).exists() for number in range(count))
        if done and not ranks.rank:
            logger.warning("%s: found %d of %d blocks, and goes on", shown(folder), done, count)
        return [_score_blocks(task, parts, range(ranks.rank, count, ranks.size), ranks.rank > 0)]

    ranks.collect(work)
    if ranks.rank:
        return None
    found = _joined(task, [_read(parts / _name(number)) for number in range(count)])
    shutil.rmtree(parts, ignore_errors=True)
    if not any(folder.iterdir()):
        folder.rmdir()
    return found


def _name(number: int) -> str:
    return f"{number:06d}.npz"


def _score_blocks(task: Task, parts: Path, numbers: Sequence[int], quiet: bool) -> int:
    """Score the blocks of these numbers that are not there yet; returns how many."""
    missing = [number for number in numbers if not (parts / _name(number)).exists()]
    spans = {n: range(n * BLOCK, min((n + 1) * BLOCK, len(task.pairs))) for n in missing}
    if not missing:
        return 0
    preprocess = task.model.config.image.preprocess
    with (
        Feed(preprocess, task.decoding, task.workers) as feed,
        progress(sum(map(len, spans.values())), quiet) as bar,
    ):
        items = (cut for span in spans.values() for cut in batches(_items(task, span), task.batch))
        decoded = feed.batches(items)
        for number, span in spans.items():
            rows, written, errors = list[np.ndarray](), list[np.ndarray](), list[str]()
            while len(errors) < len(span):
                one = next(decoded)
                good = np.array([it.error is None for it in one.tried])
                embedded_NE, flags_N = np.zeros((len(good), task.model.config.embed)), ~good
                embedded_NE[good] = embed_decoded(task.model, one)[0]
                flags_N[good] = text_only(one.planes)
                flags_N[~good] = False
                rows.append(embedded_NE.astype(np.float32))
                written.append(flags_N)
                errors += [it.error or "" for it in one.tried]
                bar.update(len(one.tried))
            image_NE = np.concatenate(rows)
            cosines, cut = _cosines(task, span, image_NE, errors)
            arrays = {
                "cosines": cosines,
                "cut": np.array(cut),
                "images": image_NE.astype(np.float16),
                "text_only": np.concatenate(written),
                "errors": np.frombuffer(json.dumps(errors).encode(), np.uint8),
            }
            _write(parts / _name(number), arrays)
    return len(missing)


def _items(task: Task, rows: Sequence[int]) -> list[Item]:
    found = []
    for row in rows:
        pair = task.pairs[row]
        path = to_name(pair.path)
        found.append(Item(path, path, pair.offset, pair.size, pair.form))
    return found


def _cosines(
    task: Task, span: Sequence[int], image_NE: np.ndarray, errors: Sequence[str]
) -> tuple[np.ndarray, int]:
    """(P,) float32 of the captions of these rows, NaN where the image cannot be read.

    And how many captions are longer than the model reads.
    """
    captions = [task.pairs[row].captions for row in span]
    wanted = dict.fromkeys(
        text for texts, error in zip(captions, errors, strict=True) if not error for text in texts
    )
    place = {text: number for number, text in enumerate(wanted)}
    texts, cut, rows = list(place), 0, [np.empty((0, image_NE.shape[1]), np.float32)]
    for at in range(0, len(texts), TEXTS):
        part = texts[at : at + TEXTS]
        try:
            ids_ML = task.model.tokenize(part)
        except DataError:
            ids_ML = task.model.tokenize(part, truncate=True)
            cut += sum(_too_long(task.model, text) for text in part)
        rows.append(unit_rows(task.model.encode_text(ids_ML)))
    text_ME = np.concatenate(rows)
    found = [
        np.full(len(texts), np.nan, np.float32)
        if error
        else text_ME[[place[text] for text in texts]] @ image_E
        for texts, image_E, error in zip(captions, image_NE, errors, strict=True)
    ]
    return np.concatenate(found), cut


def _too_long(model: Model, text: str) -> bool:
    try:
        model.tokenize([text])
    except DataError:
        return True
    return False


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    def fill(temporary: str) -> None:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)

    write_file(path, fill)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file, np.load(file) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{shown(path)}: cannot be read ({error}); remove it, and call again"
        ) from error


def _joined(task: Task, blocks: Sequence[dict[str, np.ndarray]]) -> Scores:
    """All blocks as one table, with the near-duplicates among all images."""
    errors = [text for block in blocks for text in json.loads(block["errors"].tobytes())]
    broken = np.array([bool(error) for error in errors])
    if broken.all():
        raise DataError(f"none of {len(errors)} images can be read, the first: {errors[0]}")
    near = _near(task, [block["images"] for block in blocks], np.flatnonzero(broken))
    flags_N = np.concatenate([block["text_only"] for block in blocks])
    found = Scores(np.concatenate([block["cosines"] for block in blocks]))
    found.cut = sum(int(block["cut"]) for block in blocks)
    for row, pair, caption in _each(task.pairs):
        found.pairs.append(Pair(_whole(pair), (caption,), pair.offset, pair.size, pair.form))
        found.near.append(near.get(row, ""))
        found.text_only.append(bool(flags_N[row]))
        found.errors.append(_named(pair, errors[row]))
    scorer = task.model.scorer
    one = scorer.probabilities(found.cosines)
    if judges_alone(scorer):
        found.probabilities = one
    return found


def judges_alone(scorer: Scorer) -> bool:
    """Whether a model says how likely a text fits, whatever the others are."""
    return bool(scorer.loss.probabilities(np.zeros(1), -1)[0] < 1)


def _whole(pair: Pair) -> str:
    """The path of a pair's image, which holds in every folder."""
    return os.path.abspath(pair.path)


def _named(pair: Pair, error: str) -> str:
    """What is wrong with an image, with its name."""
    return error if not error or pair.name in error else f"{pair.name}: {error}"


def _each(pairs: PairTable) -> Iterator[tuple[int, Pair, str]]:
    for row in range(len(pairs)):
        pair = pairs[row]
        for caption in pair.captions:
            yield row, pair, caption


def _near(task: Task, blocks: Sequence[np.ndarray], broken: np.ndarray) -> dict[int, str]:
    """Row of a near-duplicate -> the name of the first image of its group; that one has no row."""
    if not task.near:
        return {}
    groups = duplicate_groups(blocks, broken, task.near)
    names = [(rows, task.pairs[rows[0]]) for rows, _ in groups]
    return {row: replace(one, path=_whole(one)).name for rows, one in names for row in rows[1:]}
