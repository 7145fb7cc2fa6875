"""The contrastive loss against NumPy, and its parts on several ranks against the whole."""

import nnabla as nn
import numpy as np
import pytest

from nnclip.graph.loss import contrastive_loss, normalise, similarity


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def by_hand(image, text, scale):
    image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))
    logits = np.exp(scale) * image @ text.T
    both = np.diag(log_softmax(logits)) + np.diag(log_softmax(logits.T))
    return logits, -both.mean() / 2


@pytest.fixture
def features(rng):
    return [rng.normal(size=(6, 5)) for _ in range(2)]


def variables(*arrays):
    return [nn.Variable.from_numpy_array(array, need_grad=True) for array in arrays]


def test_logits_and_loss_are_those_of_the_paper(features):
    image, text, scale = variables(*features, np.array(2.0))
    embeddings = normalise(image), normalise(text)
    logits, loss = similarity(*embeddings, scale), contrastive_loss(*embeddings, scale)
    nn.forward_all([logits, loss])
    expected_logits, expected_loss = by_hand(*features, 2.0)
    np.testing.assert_allclose(logits.d, expected_logits, rtol=1e-5, atol=1e-5)
    assert float(loss.d) == pytest.approx(expected_loss, rel=1e-6)


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_mean_over_ranks_is_the_loss_of_the_whole(features, ranks):
    losses = []
    for rank_image, rank_text, first in zip(
        *(np.split(x, ranks) for x in features), range(0, 6, 6 // ranks), strict=True
    ):
        own_image, own_text, all_image, all_text = map(
            normalise, variables(rank_image, rank_text, *features)
        )
        (scale,) = variables(np.array(2.0))
        loss = contrastive_loss(own_image, own_text, scale, all_image, all_text, first)
        loss.forward()
        losses.append(float(loss.d))
    assert np.mean(losses) == pytest.approx(by_hand(*features, 2.0)[1], rel=1e-6)
    assert np.ptp(losses) > 1e-3
