"""Losses: the graph against NumPy by hand, parts on ranks against the whole, probabilities."""

import nnabla as nn
import numpy as np
import pytest

from nnclip.errors import CheckpointError
from nnclip.graph.losses import LOSSES, SIGMOID, SOFTMAX, Scorer, loss_in, scorer_in
from nnclip.graph.similarity import normalise, similarity

VALUES = {"logit_scale": 2.0, "logit_bias": -3.0}


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def softmax_by_hand(logits):
    return -(np.diag(log_softmax(logits)) + np.diag(log_softmax(logits.T))).mean() / 2


def sigmoid_by_hand(logits):
    chances = 1 / (1 + np.exp(-logits))
    right = np.eye(len(logits), dtype=bool)
    return -(np.log(chances[right]).sum() + np.log(1 - chances[~right]).sum()) / len(logits)


BY_HAND = {"softmax": softmax_by_hand, "sigmoid": sigmoid_by_hand}


@pytest.fixture
def features(rng):
    return {side: rng.normal(size=(6, 5)) for side in ("image", "text")}


def scalars_of(loss):
    return {name: VALUES[name] for name in loss.scalars}


def variables(arrays):
    return {k: nn.Variable.from_numpy_array(a, need_grad=True) for k, a in arrays.items()}


def cosines(features):
    image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in features.values())
    return image @ text.T


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_graph_and_twin_are_the_loss_by_hand(features, loss):
    units = {side: normalise(v) for side, v in variables(features).items()}
    scalars = variables({k: np.array(v) for k, v in scalars_of(loss).items()})
    logits, value = similarity(*units.values(), scalars), loss.graph(units, scalars, 0)
    nn.forward_all([logits, value])
    scorer = Scorer(loss, scalars_of(loss))
    expected = np.exp(2.0) * cosines(features) + scalars_of(loss).get("logit_bias", 0)
    np.testing.assert_allclose(logits.d, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scorer.logits(cosines(features)), expected, rtol=1e-12)
    assert float(value.d) == pytest.approx(BY_HAND[loss.name](expected), rel=1e-6)
    assert scorer.value(cosines(features)) == pytest.approx(float(value.d), rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("ranks", [2, 3])
def test_the_mean_over_ranks_is_the_loss_of_the_whole(features, ranks, loss):
    losses, rows = [], 6 // ranks
    everyone = {f"all_{side}": features[side] for side in loss.gathers}
    for first in range(0, 6, rows):
        own = {side: x[first : first + rows] for side, x in features.items()}
        scalars = variables({k: np.array(v) for k, v in scalars_of(loss).items()})
        chunks = [(own | everyone, first)]
        if loss.chunks:  # the texts of one rank after the other, its own begin at row 0
            others = {at: features["text"][at : at + rows] for at in range(0, 6, rows)}
            chunks = [
                (own | {"text": text}, 0 if at == first else rows) for at, text in others.items()
            ]
        total = 0.0
        for arrays, row in chunks:
            units = {name: normalise(v) for name, v in variables(arrays).items()}
            value = loss.graph(units, scalars, row)
            value.forward()
            total += float(value.d)
        losses.append(total)
    whole = Scorer(loss, scalars_of(loss)).value(cosines(features))
    assert np.mean(losses) == pytest.approx(whole, rel=1e-6)
    assert np.ptp(losses) > 1e-3


def test_probabilities_by_hand_and_far_from_zero():
    row = np.array([0.0, np.log(3)])
    np.testing.assert_allclose(SOFTMAX.probabilities(row, -1), [0.25, 0.75])
    np.testing.assert_allclose(SIGMOID.probabilities(row, -1), [0.5, 0.75])
    far = np.array([[1000.0, 1000.0, -1000.0]])
    np.testing.assert_allclose(SOFTMAX.probabilities(far, -1), [[0.5, 0.5, 0]])
    np.testing.assert_allclose(SIGMOID.probabilities(far, -1), [[1, 1, 0]])
    for loss in LOSSES.values():
        assert loss.probabilities(far.astype(np.float32), 0).dtype == np.float32


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_few_choices_among_many_have_the_probabilities_of_all(features, loss):
    scorer = Scorer(loss, scalars_of(loss))
    row = cosines(features)[0]
    log_total = np.log(np.exp(scorer.scale * row).sum())
    few = scorer.among(row[:2].astype(np.float32), log_total)
    np.testing.assert_allclose(few, scorer.probabilities(row)[:2], rtol=1e-5)
    assert scorer.among(row, -100.0).max() <= 1  # a total that was estimated far too small


def test_a_file_names_its_loss_or_shows_it_by_its_scalars():
    assert loss_in({}, ["logit_scale", "visual/proj"]) is SOFTMAX
    assert loss_in({}, ["logit_scale", "logit_bias"]) is SIGMOID
    assert loss_in({"loss": "sigmoid"}, []) is SIGMOID
    with pytest.raises(CheckpointError, match="metadata loss: found 'newest', expected softmax"):
        loss_in({"loss": "newest"}, [])


def test_a_head_file_that_lacks_a_scalar_is_refused():
    assert scorer_in({}, {}) is None
    with pytest.raises(CheckpointError, match="found no logit_bias, expected it with the sigmoid"):
        scorer_in({"loss": "sigmoid"}, {"logit_scale": 1.0})
    found = Scorer(SIGMOID, VALUES)
    told = found.metadata()
    assert scorer_in(told, {name: told[name] for name in SIGMOID.scalars}) == found
