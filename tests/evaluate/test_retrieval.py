import numpy as np
import pytest

from nnclip.errors import DataError
from nnclip.evaluate.retrieval import retrieval_ranks


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_the_example_in_the_docstring():
    pictures = np.eye(2, dtype=np.float32)
    texts = np.array([[0.8, 0.6], [0.6, 0.8], [1.0, 0.0]], np.float32)
    found = retrieval_ranks(pictures, texts, np.array([0, 1, 1]))
    assert found.of_image.tolist() == [1, 1, 2]
    assert found.of_text.tolist() == [2, 1]


def by_sorting(pictures, texts, of_text):
    scores = texts @ pictures.T
    of_image = [
        1 + np.argsort(-row, kind="stable").tolist().index(own)
        for row, own in zip(scores, of_text, strict=True)
    ]
    best = []
    for picture, column in enumerate(scores.T):
        own = np.flatnonzero(of_text == picture)
        others = np.delete(column, own)
        best.append(1 + int((others > column[own].max()).sum()) if len(own) else 0)
    return of_image, best


@pytest.mark.parametrize("block", [(1, 1), (7, 5), (1000, 1000)])
def test_blocks_of_any_size_give_what_sorting_gives(rng, block):
    pictures = unit(rng.normal(size=(40, 8)))
    of_text = rng.integers(0, 40, 90)  # some images have no text, some have several
    texts = unit(pictures[of_text] + rng.normal(size=(90, 8)) * 0.4)
    found = retrieval_ranks(pictures, texts, of_text, block=block)
    of_image, of_text_ranks = by_sorting(pictures, texts, of_text)
    assert found.of_image.tolist() == of_image
    assert found.of_text.tolist() == of_text_ranks
    assert 0 in of_text_ranks and max(of_image) > 1


def test_a_model_that_tells_nothing_apart_finds_nothing():
    rows = unit(np.ones((50, 4)))
    metrics = retrieval_ranks(rows, rows, np.arange(50), block=(8, 8)).metrics()
    assert metrics["image_retrieval_recall@1"] == metrics["text_retrieval_recall@1"] == 1 / 50
    assert metrics["image_retrieval_mean_rank"] == 25.5


def test_a_text_said_of_two_pictures_counts_once_for_each_place():
    pictures, texts = unit(np.array([[1, 0], [0.9, 0.1], [0, 1]])), unit(np.array([[1, 0]] * 3))
    found = retrieval_ranks(pictures, texts, np.array([0, 1, 2]))
    assert found.of_image.tolist() == [1, 2, 3]
    assert found.of_text.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("pictures", "texts", "of_text", "says"),
    [
        ((0, 4), (3, 4), 3, "0 images and 3 texts"),
        ((3, 4), (3, 5), 3, "different models"),
        ((3, 4), (3, 4), 2, "one for each text"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(pictures, texts, of_text, says):
    with pytest.raises(DataError, match=says):
        retrieval_ranks(
            np.ones(pictures, np.float32), np.ones(texts, np.float32), np.zeros(of_text, np.int64)
        )


def test_a_picture_out_of_range_is_refused():
    rows = unit(np.eye(3))
    with pytest.raises(DataError, match="image 3 of 3"):
        retrieval_ranks(rows, rows, np.array([0, 1, 3]))


def test_a_large_table_is_never_held_whole(rng):
    """8,000 x 8,000 similarities would take 256 MB; in blocks the peak stays far below."""
    import tracemalloc

    rows = unit(rng.normal(size=(8000, 16)))
    tracemalloc.start()
    found = retrieval_ranks(rows, rows, np.arange(8000), block=(256, 1024))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.of_image.max() == 1 and peak < 20e6
