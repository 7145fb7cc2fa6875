"""Embeddings on a plane, where what is alike lies together.

Axes: N rows, E embedding.
"""

import numpy as np

from nnclip.errors import ConfigError
from nnclip.extras import extra

LAYOUTS = ("tsne", "pca")
KEPT = 50  # directions that t-SNE looks at
PERPLEXITY = 30.0
LEAST = 8  # rows that t-SNE is worth for


def has_tsne() -> bool:
    """Whether scikit-learn is installed."""
    try:
        import sklearn  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def layout(rows_NE: np.ndarray, way: str) -> np.ndarray:
    """Places of rows on a plane, (N, 2) float32, each axis 0 to 1.

    Args:
        rows_NE: of unit length.
        way: "pca", the two directions in which rows vary most; or "tsne", which keeps neighbours
            together (van der Maaten and Hinton, Visualizing Data using t-SNE, 2008).

    Raises:
        ConfigError: no such layout, or no scikit-learn for t-SNE.
    """
    if way not in LAYOUTS:
        raise ConfigError(f"layout {way!r}: expected one of {', '.join(LAYOUTS)}")
    places_N2 = _principal(rows_NE, 2)
    if way == "tsne" and len(rows_NE) >= LEAST:
        with extra():
            from sklearn.manifold import TSNE
            from threadpoolctl import threadpool_limits
        perplexity = min(PERPLEXITY, (len(rows_NE) - 1) / 3)
        start_N2 = 1e-4 * places_N2 / max(float(places_N2[:, 0].std()), 1e-12)
        found = TSNE(perplexity=perplexity, init=start_N2, random_state=0)
        # the same on every machine; threads that wait for a busy core take 20 times as long
        with threadpool_limits(1):
            places_N2 = found.fit_transform(_principal(rows_NE, KEPT))
    low, high = places_N2.min(0), places_N2.max(0)
    scaled: np.ndarray = (places_N2 - low) / np.maximum(high - low, 1e-12)
    return scaled.astype(np.float32)


def _principal(rows_NE: np.ndarray, count: int) -> np.ndarray:
    """Rows along the directions in which they vary most, (N, count) float32."""
    centred_NE = rows_NE - rows_NE.mean(0)
    _, directions_EE = np.linalg.eigh(centred_NE.T @ centred_NE)
    best = directions_EE[:, ::-1][:, :count]
    # a direction has no sign of its own: its largest number is positive
    best = best * np.sign(best[np.abs(best).argmax(0), np.arange(best.shape[1])])
    return np.ascontiguousarray(centred_NE @ best, np.float32)
