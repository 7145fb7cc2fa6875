import numpy as np
import pytest

from nnclip.evaluate.metrics import (
    confusion_matrix,
    expected_calibration_error,
    label_ranks,
    mean_per_class_recall,
    per_class_precision,
    per_class_recall,
    rank_summary,
    reliability_bins,
    top_k_accuracy,
)
from nnclip.evaluate.retrieval import retrieval_ranks
from nnclip.evaluate.zero_shot import classify
from tests.lazy import lazy

metrics = lazy("sklearn.metrics")

torch = lazy("torch")
benchmark = lazy("clip_benchmark.metrics")


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_label_ranks_of_the_matrix_in_the_docstring():
    scores = np.array([[0.1, 0.9, 0.0], [0.5, 0.2, 0.3], [0.4, 0.4, 0.4]])
    assert label_ranks(scores, np.array([1, 2, 1])).tolist() == [1, 2, 2]


def test_top_k_accuracy_by_hand():
    ranks = np.array([1, 3, 2])
    assert [top_k_accuracy(ranks, k) for k in (1, 2, 3)] == [1 / 3, 2 / 3, 1.0]


def test_confusion_recall_and_precision_by_hand():
    confusion = confusion_matrix(np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1]), 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    np.testing.assert_allclose(per_class_recall(confusion), [0.5, 1.0, np.nan])
    np.testing.assert_allclose(per_class_precision(confusion), [1.0, 2 / 3, np.nan])
    assert mean_per_class_recall(confusion) == 0.75  # the empty class is not counted


def test_calibration_error_of_the_example_in_the_docstring():
    confidence, correct = np.array([0.3, 0.4, 0.8, 0.9]), np.array([False, True, True, True])
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(0.15)
    mean, accuracy, count = reliability_bins(confidence, correct, bins=4)
    np.testing.assert_allclose(mean, [np.nan, 0.35, np.nan, 0.85])
    np.testing.assert_allclose(accuracy, [np.nan, 0.5, np.nan, 1.0])
    assert count.tolist() == [0, 2, 0, 2]


def test_calibration_error_at_the_ends():
    certain = np.ones(4)
    assert expected_calibration_error(certain, np.ones(4, bool)) == 0.0
    assert expected_calibration_error(certain, np.zeros(4, bool)) == 1.0
    assert expected_calibration_error(np.full(4, 0.5), np.array([1, 0, 1, 0], bool)) == 0.0


def test_rank_summary_of_the_example_in_the_docstring():
    assert rank_summary(np.array([1, 1, 4, 12])) == {
        "recall@1": 0.5,
        "recall@5": 0.75,
        "recall@10": 0.75,
        "mean_rank": 4.5,
        "median_rank": 2.5,
    }


@pytest.mark.torch
@pytest.mark.parametrize("classes", [4, 7, 100])
def test_classification_equals_clip_benchmark(rng, classes):
    pictures, names = rng.normal(size=(500, 16)), rng.normal(size=(classes, 16))
    labels = rng.integers(0, classes, 500)
    pictures, names = unit(pictures + names[labels] * 0.6), unit(names)
    found = classify(pictures, labels, names, tuple(map(str, range(classes)))).metrics()
    logits, target = torch.from_numpy(100 * pictures @ names.T), torch.from_numpy(labels)
    ks = (1, 5) if classes > 5 else (1,)
    theirs = benchmark.zeroshot_classification.accuracy(logits, target, topk=ks)
    assert [found[f"acc{k}"] for k in ks] == pytest.approx(theirs, abs=1e-6)
    recall = metrics.balanced_accuracy_score(labels, logits.argmax(1).numpy())
    assert found["mean_per_class_recall"] == pytest.approx(recall, abs=1e-6)


@pytest.mark.torch
@pytest.mark.parametrize("per_picture", [1, 5])
def test_retrieval_equals_clip_benchmark(rng, per_picture):
    pictures = unit(rng.normal(size=(200, 24)))
    of_text = rng.permutation(np.repeat(np.arange(200), per_picture))
    texts = unit(pictures[of_text] * 1.2 + rng.normal(size=(len(of_text), 24)) * 0.5)
    found = retrieval_ranks(pictures, texts, of_text, block=(37, 53)).metrics()
    scores = torch.from_numpy(texts @ pictures.T)
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(of_text)), torch.from_numpy(of_text)] = True
    for k in (1, 5, 10):
        for side, s, p in (("image", scores, positive), ("text", scores.T, positive.T)):
            recall = benchmark.zeroshot_retrieval.batchify(
                benchmark.zeroshot_retrieval.recall_at_k, s, p, 64, "cpu", k=k
            )
            theirs = (recall > 0).float().mean().item()
            assert found[f"{side}_retrieval_recall@{k}"] == pytest.approx(theirs, abs=1e-6)
    assert 0.05 < found["image_retrieval_recall@1"] < 0.95  # neither hopeless nor trivial
