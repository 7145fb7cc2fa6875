"""Arithmetic on embeddings and logits that every floor shares.

Axes: N images or texts, M texts, E embedding.
"""

import numpy as np


def unit(features_NE: np.ndarray) -> np.ndarray:
    """Features (N, E) -> embeddings (N, E) of unit length: [3, 4] -> [0.6, 0.8]."""
    found: np.ndarray = features_NE / np.linalg.norm(features_NE, axis=1, keepdims=True)
    return found


def softmax(logits_NM: np.ndarray, axis: int = -1) -> np.ndarray:
    """Logits (N, M) -> probabilities (N, M): along the axis, [0, log 3] -> [0.25, 0.75]."""
    powers_NM = np.exp(logits_NM - logits_NM.max(axis=axis, keepdims=True, initial=-np.inf))
    found: np.ndarray = powers_NM / powers_NM.sum(axis=axis, keepdims=True)
    return found
