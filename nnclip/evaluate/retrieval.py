"""Retrieval: the rank of each text's image, and of each image's best text.

Similarities are computed block by block and never kept: a million pairs need the two tables of
embeddings and a few hundred megabytes.

Axes: N images, M texts, E embedding.
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
        of_image: (M,) int64: for each text, the place of its image among all N.
        of_text: (N,) int64: for each image, the place of its best text among all M, its other
            texts not counted; 0 for an image without a text.
    """

    of_image: np.ndarray
    of_text: np.ndarray

    def metrics(self) -> dict[str, float]:
        """recall@1, 5, 10, mean and median rank of image_retrieval (a text finds its image) and
        text_retrieval (an image finds one of its texts)."""
        found = {}
        sides = {"image": self.of_image, "text": self.of_text[self.of_text > 0]}
        for side, ranks in sides.items():
            for name, value in rank_summary(ranks).items():
                found[f"{side}_retrieval_{name}"] = value
        return found


def retrieval_ranks(
    images: np.ndarray,
    texts: np.ndarray,
    image_of_text: np.ndarray,
    ranks: Ranks = ALONE,
    block: tuple[int, int] = (TEXTS, PICTURES),
) -> RetrievalRanks:
    """Rank all images for each text and all texts for each image.

        images [[1, 0],    texts [[.8, .6],    image_of_text   of_image [1, 1, 2]
                  [0, 1]]           [.6, .8],       [0, 1, 1]      of_text    [1, 1]
                                    [1., 0.]]

    Text 2 belongs to image 1 but finds image 0 first. Image 0 would find text 2 before its
    own text 0: of_text[0] is 2.

    Of equally similar candidates, the one with the lower index stands first, so that a model that
    tells nothing apart finds nothing: its recall@1 is 1/N.

    Args:
        images: (N, E) float32, unit rows.
        texts: (M, E) float32, unit rows.
        image_of_text: (M,) int64 0..N-1.
        ranks: the processes that share the work; all get all of it.
        block: texts and images at once.

    Raises:
        DataError: shapes that do not fit, or an index out of range.
    """
    _check(images, texts, image_of_text)
    own = _own(images, texts, image_of_text)
    best_text, best = _best_texts(own, image_of_text, len(images))
    above_text = np.zeros(len(images), np.int64)

    def work() -> list[np.ndarray]:
        places = []
        for rows in progress(ranks.share(batches(len(texts), block[0])), ranks, "similarities"):
            above = np.zeros(len(rows), np.int64)
            for columns in batches(len(images), block[1]):
                r, c = slice(rows.start, rows.stop), slice(columns.start, columns.stop)
                scores = texts[r] @ images[c].T
                places_here = image_of_text[r] - c.start
                mine = np.flatnonzero((places_here >= 0) & (places_here < len(columns)))
                scores[mine, places_here[mine]] = -np.inf
                above += _above(scores, own[r], places_here, axis=1)
                above_text[c] += _above(scores, best[c], best_text[c] - r.start, axis=0)
            places.append(1 + above)
        return places

    of_image = np.concatenate(ranks.collect(work))
    of_text = np.where(best_text >= 0, 1 + ranks.sum(above_text), 0)
    return RetrievalRanks(of_image, of_text)


def _own(images: np.ndarray, texts: np.ndarray, image_of_text: np.ndarray) -> np.ndarray:
    """Each text's similarity to its own image, (M,) float32."""
    parts = [slice(rows.start, rows.stop) for rows in batches(len(texts), PICTURES)]
    chosen = ((texts[part], images[image_of_text[part]]) for part in parts)
    return np.concatenate([np.einsum("me,me->m", *pair) for pair in chosen])


def _best_texts(
    own: np.ndarray, image_of_text: np.ndarray, images: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each image's most similar text of its own and that similarity; -1 and inf without one."""
    order = np.lexsort((own, image_of_text))
    sorted_images = image_of_text[order]
    last = np.flatnonzero(np.append(sorted_images[1:] != sorted_images[:-1], True))
    index, best = np.full(images, -1, np.int64), np.full(images, np.inf, np.float32)
    index[sorted_images[last]], best[sorted_images[last]] = order[last], own[order[last]]
    return index, best


def _above(scores: np.ndarray, own: np.ndarray, own_place: np.ndarray, axis: int) -> np.ndarray:
    """How many candidates stand before each query's own: higher, or equal and of a lower index.

    Args:
        scores: (A, B) float32; own candidates are -inf.
        own: (A,) or (B,) similarity of the own candidate, which may be in another block.
        own_place: its place in this block; below 0 or past the end if it is in another.
        axis: of the candidates: 1 if the rows are queries, 0 if the columns are.

    Returns:
        (A,) or (B,) int64.
    """
    count = scores.shape[axis]
    # a candidate before the own one needs to be as high, one after it higher
    limit = np.where(own_place >= count, own - TIE, own + TIE).astype(np.float32)
    above = _count(scores > np.expand_dims(limit, axis), axis)
    for query in np.flatnonzero((own_place > 0) & (own_place < count)):
        before = scores[query] if axis == 1 else scores[:, query]
        before = before[: own_place[query]]
        tied = (before > own[query] - np.float32(TIE)) & (before <= limit[query])
        above[query] += np.count_nonzero(tied)
    return above


def _count(marks: np.ndarray, axis: int) -> np.ndarray:
    """The number of True along `axis` of a table of bool, at the speed of memory: NumPy's own sum
    turns every one into an int64 first."""
    if axis == 1:
        return np.array([np.count_nonzero(row) for row in marks], np.int64)
    total = np.zeros(marks.shape[1], np.int64)
    for start in range(0, len(marks), 255):  # that many ones fit into a byte
        total += marks[start : start + 255].view(np.uint8).sum(0, dtype=np.uint8)
    return total


def _check(images: np.ndarray, texts: np.ndarray, image_of_text: np.ndarray) -> None:
    if not len(images) or not len(texts):
        raise DataError(
            f"{len(images)} images and {len(texts)} texts, expected at least one of each"
        )
    if images.shape[1] != texts.shape[1]:
        raise DataError(
            f"images have {images.shape[1]} dimensions and texts {texts.shape[1]}: "
            "they come from different models"
        )
    if image_of_text.shape != (len(texts),):
        raise DataError(f"{image_of_text.shape} images named, expected one for each text")
    if image_of_text.min() < 0 or image_of_text.max() >= len(images):
        raise DataError(f"a text belongs to image {image_of_text.max()} of {len(images)}")
