"""Retrieval: at which place a text finds its picture, and a picture the best of its texts.

Similarities are computed block by block and never kept: a million pairs need the two tables of
embeddings and a few hundred megabytes.

Axes: N pictures, M texts, E embedding.
"""

from dataclasses import dataclass

import numpy as np

from nnclip.errors import DataError
from nnclip.evaluate.embedding import ALONE, batches, progress
from nnclip.evaluate.metrics import rank_summary
from nnclip.evaluate.ranks import Ranks

TEXTS, PICTURES = 2048, 16_384  # rows and columns of a block: 128 MiB of similarities
TIE = 3e-7  # cosines nearer than float32 can tell count as equal


@dataclass(frozen=True)
class RetrievalRanks:
    """Places from 1 (found first).

    Args:
        of_picture: (M,) int64: for each text, the place of its picture among all N.
        of_text: (N,) int64: for each picture, the place of its best text among all M, its other
            texts not counted; 0 for a picture without a text.
    """

    of_picture: np.ndarray
    of_text: np.ndarray

    def metrics(self) -> dict[str, float]:
        """recall@1, 5, 10, mean and median rank of image_retrieval (a text finds its picture) and
        text_retrieval (a picture finds one of its texts)."""
        found = {}
        sides = {"image": self.of_picture, "text": self.of_text[self.of_text > 0]}
        for side, ranks in sides.items():
            for name, value in rank_summary(ranks).items():
                found[f"{side}_retrieval_{name}"] = value
        return found


def retrieval_ranks(
    pictures: np.ndarray,
    texts: np.ndarray,
    picture_of_text: np.ndarray,
    ranks: Ranks = ALONE,
    block: tuple[int, int] = (TEXTS, PICTURES),
) -> RetrievalRanks:
    """Rank all pictures for each text and all texts for each picture.

        pictures [[1, 0],    texts [[.8, .6],    picture_of_text   of_picture [1, 1, 2]
                  [0, 1]]           [.6, .8],       [0, 1, 1]      of_text    [1, 1]
                                    [1., 0.]]

    Text 2 belongs to picture 1 but finds picture 0 first. Picture 0 would find text 2 before its
    own text 0: of_text[0] is 2.

    Of equally similar candidates, the one with the lower index stands first, so that a model that
    tells nothing apart finds nothing: its recall@1 is 1/N.

    Args:
        pictures: (N, E) float32, unit rows.
        texts: (M, E) float32, unit rows.
        picture_of_text: (M,) int64 0..N-1.
        ranks: the processes that share the work; all get all of it.
        block: texts and pictures at once.

    Raises:
        DataError: shapes that do not fit, or an index out of range.
    """
    _check(pictures, texts, picture_of_text)
    own = np.einsum("me,me->m", texts, pictures[picture_of_text])
    best_text, best = _best_texts(own, picture_of_text, len(pictures))
    above_text = np.zeros(len(pictures), np.int64)

    def work() -> list[np.ndarray]:
        places = []
        for rows in progress(ranks.share(batches(len(texts), block[0])), ranks, "similarities"):
            above = np.zeros(len(rows), np.int64)
            for columns in batches(len(pictures), block[1]):
                r, c = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
                scores = texts[r] @ pictures[c].T
                mine = np.flatnonzero(
                    (picture_of_text[r] >= c.start) & (picture_of_text[r] < c.stop)
                )
                scores[mine, picture_of_text[r][mine] - c.start] = -np.inf
                above += _above(scores, own[r], picture_of_text[r], c.start)
                above_text[c] += _above(scores.T, best[c], best_text[c], r.start)
            places.append(1 + above)
        return places

    of_picture = np.concatenate(ranks.collect(work))
    of_text = np.where(best_text >= 0, 1 + ranks.sum(above_text), 0)
    return RetrievalRanks(of_picture, of_text)


def _best_texts(
    own: np.ndarray, picture_of_text: np.ndarray, pictures: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each picture's most similar text of its own and that similarity; -1 and inf without one."""
    order = np.lexsort((own, picture_of_text))
    sorted_pictures = picture_of_text[order]
    last = np.flatnonzero(np.append(sorted_pictures[1:] != sorted_pictures[:-1], True))
    index, best = np.full(pictures, -1, np.int64), np.full(pictures, np.inf, np.float32)
    index[sorted_pictures[last]], best[sorted_pictures[last]] = order[last], own[order[last]]
    return index, best


def _above(scores: np.ndarray, own: np.ndarray, own_index: np.ndarray, start: int) -> np.ndarray:
    """How many columns stand before each row's own: higher, or equal and of a lower index.

    Args:
        scores: (A, B); own columns are -inf.
        own: (A,) similarity of the own column, which may be in another block.
        own_index: (A,) index of the own column.
        start: index of the first column.
    """
    surely = np.count_nonzero(scores > (own + TIE)[:, None], axis=1)
    perhaps = np.count_nonzero(scores > (own - TIE)[:, None], axis=1)
    for row in np.flatnonzero(perhaps > surely):
        tied = np.flatnonzero(np.abs(scores[row] - own[row]) <= TIE) + start
        surely[row] += np.count_nonzero(tied < own_index[row])
    return surely


def _check(pictures: np.ndarray, texts: np.ndarray, picture_of_text: np.ndarray) -> None:
    if not len(pictures) or not len(texts):
        raise DataError(f"{len(pictures)} pictures and {len(texts)} texts, expected some of each")
    if pictures.shape[1] != texts.shape[1]:
        raise DataError(
            f"pictures have {pictures.shape[1]} dimensions and texts {texts.shape[1]}: "
            "they come from different models"
        )
    if picture_of_text.shape != (len(texts),):
        raise DataError(f"{picture_of_text.shape} pictures named, expected one for each text")
    if picture_of_text.min() < 0 or picture_of_text.max() >= len(pictures):
        raise DataError(f"a text belongs to picture {picture_of_text.max()} of {len(pictures)}")
