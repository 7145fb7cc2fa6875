"""Few shots, beside a slow twin of Tip-Adapter that is written out in loops."""

import math

import numpy as np
import pytest
from PIL import Image

from nnclip.errors import ConfigError, DataError
from nnclip.evaluate.few_shot import Methods, drawn_shots, few_shot, measure_few_shot, tip_adapter
from nnclip.evaluate.figures.few import shots_figure
from nnclip.evaluate.labelled import read_labelled
from nnclip.evaluate.linear_probe import Examples
from nnclip.graph.losses import SOFTMAX, Scorer

SCORER = Scorer(SOFTMAX, {"logit_scale": math.log(20.0)})
CLASSES = ("a", "b", "c")


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def data(rng):
    """Three clusters that their names tell badly."""
    centres = rng.normal(size=(3, 8))
    labels = np.arange(60) % 3
    rows = unit(centres[labels] + 0.7 * rng.normal(size=(60, 8)))
    names = unit(centres + 1.5 * rng.normal(size=(3, 8)))
    return Examples(rows[:30], labels[:30]), Examples(rows[30:], labels[30:]), names


def dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def slow_twin(images, shots, class_rows, scale, alpha, beta):
    """Tip-Adapter one number at a time."""
    logits = np.zeros((len(images), len(class_rows)))
    for n, image in enumerate(images):
        for c, name in enumerate(class_rows):
            logits[n, c] = scale * dot(image, name)
        for shot, label in zip(shots.rows, shots.labels, strict=True):
            logits[n, label] += alpha * math.exp(-(beta - beta * dot(image, shot)))
    return logits


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 5.5), (3.0, 1.0), (0.1, 20.0)])
def test_tip_adapter_is_its_twin(data, alpha, beta):
    train, test, names = data
    shots = Examples(train.rows[:9], train.labels[:9])
    found = tip_adapter(test.rows, shots, names, SCORER, Methods(alpha, beta))
    expected = slow_twin(test.rows, shots, names, 20.0, alpha, beta)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_shots_are_k_of_each_class_and_grow():
    labels = np.array([0, 1, 2, 0, 1, 0, 0, 1])
    two, three = (drawn_shots(labels, k, 3, seed=5) for k in (2, 3))
    assert np.bincount(labels[two]).tolist() == [2, 2, 1]
    assert np.bincount(labels[three]).tolist() == [3, 3, 1]
    assert set(two) < set(three) and len(set(three)) == 7
    assert not np.array_equal(two, drawn_shots(labels, 2, 3, seed=6))


def test_every_number_is_what_it_is_alone(data):
    train, test, names = data
    metrics, each = few_shot(train, test, CLASSES, names, (1, 4), 2, SCORER)
    assert set(metrics) == {"zero_shot_acc1", *each}
    for count in (1, 4):
        for seed in (0, 1):
            rows = drawn_shots(train.labels, count, 3, seed)
            shots = Examples(train.rows[rows], train.labels[rows])
            right = slow_twin(test.rows, shots, names, 20.0, 1.0, 5.5).argmax(1) == test.labels
            assert each[f"tip_adapter_{count}_shots_acc1"][seed] == pytest.approx(right.mean())
        name = f"tip_adapter_{count}_shots_acc1"
        assert metrics[name] == pytest.approx(np.mean(each[name]))
    assert metrics["linear_probe_4_shots_acc1"] > metrics["zero_shot_acc1"]


@pytest.mark.torch
def test_the_probe_is_scikit_learns(data):
    from sklearn.linear_model import LogisticRegression

    train, test, names = data
    _, each = few_shot(train, test, CLASSES, names, (3,), 1, SCORER)
    rows = drawn_shots(train.labels, 3, 3, seed=0)
    theirs = LogisticRegression(C=10.0, max_iter=1000).fit(train.rows[rows], train.labels[rows])
    expected = theirs.score(test.rows, test.labels)
    assert each["linear_probe_3_shots_acc1"] == [pytest.approx(expected)]


def test_a_class_with_few_images_shows_them_all_and_is_named(data, caplog):
    train, test, names = data
    kept = [*np.flatnonzero(train.labels != 1).tolist(), 1]
    scarce = Examples(train.rows[kept], train.labels[kept])
    few_shot(scarce, test, CLASSES, names, (4,), 1, SCORER)
    assert "'b' has 1 images" in caplog.text


def test_a_task_from_folders_to_record_and_figure(subject, colour_folder, tmp_path):
    data = read_labelled(colour_folder)
    record = measure_few_shot(subject, data, data, ["a {}."], (1, 2), 2, Methods())
    assert record["task"] == "few_shot" and record["metrics"]["zero_shot_acc1"] == 1.0
    assert record["metrics"]["tip_adapter_2_shots_acc1"] == 1.0
    assert record["train_images"] == record["images"] == 16
    figure = shots_figure(record["metrics"])
    assert len(figure.axes[0].lines) == 3
    (tmp_path / "other" / "red").mkdir(parents=True)
    Image.new("RGB", (4, 4), "red").save(tmp_path / "other" / "red" / "1.png")
    other = read_labelled(tmp_path / "other")
    with pytest.raises(DataError, match="different classes"):
        measure_few_shot(subject, other, data, ["a {}."], (1,), 1, Methods())


@pytest.mark.parametrize(("shots", "draws"), [((), 1), ((0,), 1), ((1,), 0)])
def test_no_shots_are_refused(data, shots, draws):
    with pytest.raises(ConfigError, match="--shots"):
        few_shot(*data[:2], CLASSES, data[2], shots, draws)


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"beta": -1.0}, {"strength": math.inf}])
def test_impossible_methods_are_refused(wrong):
    with pytest.raises(ConfigError, match="--" + next(iter(wrong))):
        Methods(**wrong)
