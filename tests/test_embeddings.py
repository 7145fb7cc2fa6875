import numpy as np

from nnclip.embeddings import softmax, unit


def test_softmax_by_hand_and_far_from_zero():
    np.testing.assert_allclose(softmax(np.array([0.0, np.log(3)])), [0.25, 0.75])
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0]])), [[0.5, 0.5]])


def test_unit_by_hand():
    found = unit(np.array([[3, 4], [0, -2]], np.float32))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, -1]], rtol=1e-6)
    assert found.dtype == np.float32
