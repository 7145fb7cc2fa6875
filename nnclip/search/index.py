"""Indexes on disk: built, tuned to a stated recall, opened.

Axes: Q queries, E embedding, S sampled rows.
"""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from nnclip.checksums import file_checksum
from nnclip.errors import ConfigError, DataError
from nnclip.extras import extra
from nnclip.search.approximate import SETTINGS, Approximate, build, open_index
from nnclip.search.collection import Collection
from nnclip.search.lock import INDEX as INDEX_LOCK
from nnclip.search.lock import locked
from nnclip.search.rows import gather
from nnclip.search.sealed import read_sealed, write_sealed
from nnclip.search.tuning import Find, choose_setting, image_queries, text_queries
from nnclip.search.writing import first_line, write_file

with extra():
    import faiss

Texts = Callable[[], np.ndarray]

logger = logging.getLogger(__name__)

FILE = "index.json"
REMEDY = "run `nnclip index`, which builds it again"
KINDS = ("auto", "exact", "ivf", "hnsw")
EXACT_ROWS = 200_000  # up to so many, exact search takes a few ms
RERANKED = 100  # candidates that are ranked by the rows themselves
SAMPLE = 8192  # rows that stand for the others in the sum of a softmax


@dataclass(frozen=True)
class IndexCard:
    """What an index is, and how good.

    Attributes:
        kind: "exact", "ivf" or "hnsw".
        rows: how many it covers.
        file: FAISS's, in the collection's folder; "" for exact search.
        setting: lists that a query opens (ivf), or nodes that it keeps in view (hnsw).
        wanted: recall@10 that was asked for.
        recall: recall@10 of held-out queries, by kind of query.
        seconds: what building took.
        checks: checksums of the files, by name; none in indexes of earlier versions.
    """

    kind: str
    rows: int
    file: str = ""
    setting: int = 0
    wanted: float = 1.0
    recall: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    checks: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "pictures" in self.recall:  # what a card of before calls them
            self.recall["images"] = self.recall.pop("pictures")


def build_index(
    collection: Collection,
    kind: str = "auto",
    recall: float = 0.95,
    texts: Texts | None = None,
) -> IndexCard:
    """Build an index, choose its setting and put it in place of the one before.

    Args:
        collection: what is to be searched.
        kind: see `KINDS`; "auto" is exact up to 200,000 rows, "ivf" beyond.
        recall: recall@10 that every kind of query has to reach.
        texts: gives embedded texts (Q, E) such as people will ask; None to ask for images only.

    Raises:
        ConfigError: an unknown kind or an impossible recall.
        DataError: nothing to index, or a full disk.
    """
    kind = chosen_kind(kind, recall, len(collection), "ivf")
    with locked(collection.path, INDEX_LOCK):
        card = IndexCard(kind, collection.rows)
        if kind != "exact":
            card = _built(collection, kind, recall, texts)
        _replace(collection.path, card)
    return card


def chosen_kind(kind: str, recall: float, images: int, beyond: str) -> str:
    """What "auto" means for so many images; ConfigError for what cannot be."""
    if kind not in KINDS or not 0 < recall <= 1:
        raise ConfigError(
            f"kind {kind!r} and recall {recall}: expected one of {', '.join(KINDS)} and a recall "
            "above 0, at most 1"
        )
    if kind != "auto":
        return kind
    return "exact" if images <= EXACT_ROWS else beyond


def _built(collection: Collection, kind: str, recall: float, texts: Texts | None) -> IndexCard:
    blocks, dead, rows = collection.blocks, collection.dead, collection.rows
    if len(collection) < 2:
        raise DataError(f"{collection.path}: found {len(collection)} images, expected two or more")
    start = time.perf_counter()
    name = f"index-{secrets.token_hex(4)}.faiss"
    path = collection.path / name
    write_file(path, partial(faiss.write_index, build(kind, blocks)))
    sample = np.sort(np.random.default_rng(2).choice(rows, min(SAMPLE, rows), replace=False))
    held = {"rows": sample, "vectors": gather(blocks, sample)}
    write_file(path.with_suffix(".npz"), lambda temporary: _save(temporary, held))
    checks = {file.name: file_checksum(file) for file in (path, path.with_suffix(".npz"))}
    logger.info("built in %.1f s", time.perf_counter() - start)
    kinds = [image_queries(blocks, dead)]
    if texts is not None:
        kinds.append(text_queries(blocks, dead, texts()))

    def finder(setting: int) -> Find:
        searcher = _opened(path, kind, setting, rows)
        return lambda query_E, k: searcher.nearest(query_E, k, 1.0, blocks, dead).rows

    setting, reached = choose_setting(SETTINGS[kind], recall, kinds, finder)
    seconds = round(time.perf_counter() - start, 1)
    return IndexCard(kind, rows, name, setting, recall, reached, seconds, checks)


def _save(temporary: str, arrays: dict[str, np.ndarray]) -> None:
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)


def open_searcher(folder: Path, card: IndexCard, rows: int) -> Approximate:
    """The index of a collection; its files are compared with their checksums before.

    Args:
        folder: of the collection.
        card: what the index is.
        rows: of the collection.

    Raises:
        DataError: a file is missing or damaged, or the index is of another collection.
    """
    check_index(folder, card, rows)
    return _opened(folder / card.file, card.kind, card.setting, card.rows)


def check_index(folder: Path, card: IndexCard, rows: int) -> None:
    """DataError unless the index's files are whole and fit a collection of so many rows."""
    if card.rows > rows:
        raise DataError(
            f"{folder / FILE}: found an index of {card.rows:,} rows, expected at most {rows:,}; "
            f"{REMEDY}"
        )
    for name, expected in card.checks.items():
        try:
            found = file_checksum(folder / name)
        except OSError as error:
            raise DataError(f"{folder / name}: cannot be read ({error}); {REMEDY}") from error
        if found != expected:
            raise DataError(f"{folder / name}: is damaged, its checksum is another; {REMEDY}")


def _opened(path: Path, kind: str, setting: int, rows: int) -> Approximate:
    """The index of a file, and the sample beside it; DataError where one cannot be read."""
    index = open_index(path)
    try:
        with np.load(path.with_suffix(".npz")) as held:
            sample, sample_SE = held["rows"], held["vectors"]
        if (index.ntotal, sample.dtype, sample_SE.dtype) != (rows, np.int64, np.float32):
            raise ValueError(f"found an index of {index.ntotal} rows of {rows}, or other numbers")
        if sample_SE.shape != (len(sample), index.d) or not 0 <= sample[0] <= sample[-1] < rows:
            raise ValueError(f"found rows {sample.shape} and vectors {sample_SE.shape}")
    except Exception as error:  # readers of zip files raise anything
        raise DataError(
            f"{path.with_suffix('.npz')}: cannot be read ({first_line(error)}); {REMEDY}"
        ) from error
    return Approximate(index, kind, setting, RERANKED, (sample, sample_SE))


def remove_index(folder: Path) -> None:
    """Search exactly from now on."""
    (folder / FILE).unlink(missing_ok=True)
    for old in folder.glob("index-*"):
        old.unlink(missing_ok=True)


def _replace(folder: Path, card: IndexCard) -> None:
    """Let the new index be the one, and remove what the old one leaves."""
    write_sealed(folder / FILE, asdict(card))
    for old in folder.glob("index-*"):
        if old.stem != Path(card.file).stem:
            old.unlink(missing_ok=True)


def read_card(folder: Path) -> IndexCard | None:
    """What the folder's index is; None where there is none. DataError where it is damaged."""
    path = folder / FILE
    try:
        card = IndexCard(**read_sealed(path, REMEDY, "checks"))
    except FileNotFoundError:
        return None
    except TypeError as error:
        raise DataError(f"{path}: is damaged ({first_line(error)}); {REMEDY}") from error
    numbers = (type(card.rows), type(card.setting)) == (int, int)
    if card.kind not in KINDS[1:] or not numbers or not isinstance(card.file, str):
        raise DataError(f"{path}: found no index in it, expected one; {REMEDY}")
    return card
