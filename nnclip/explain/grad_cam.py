"""Grad-CAM: the last places of a tower, weighted by the mean gradient of their channels.

Source: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization (2017), equations 1 and 2. In a transformer, places are the tokens that the last block
takes.
"""

import numpy as np

from nnclip.engine import CompiledGraph, EmittedGraph
from nnclip.explain.relevance import on_grid
from nnclip.explain.scored import images_scored
from nnclip.weights.model import ModelWeights

NAME = "grad-cam"


def emit(weights: ModelWeights) -> EmittedGraph:
    """The image tower with `images` (1, 3, R, R) and `direction` (1, E)."""
    # with OpenVINO, which is imported where something is compiled
    from nnclip.engine.attributed import emit_attributed, weighted_channels, weighted_tokens

    with images_scored(weights) as scored:
        inputs, score, hidden = scored()
        # the last block may compute a single token
        last = hidden[-1] if hidden[-1].ndim == 4 or len(hidden) == 1 else hidden[-2]
        combine = weighted_channels if last.ndim == 4 else weighted_tokens
        return emit_attributed(inputs, score, {"places": (last, combine)}, weights.unread())


def maps(graph: CompiledGraph, images_13RR: np.ndarray, text_TE: np.ndarray) -> np.ndarray:
    """(T, G, G) float32, at least 0; see `explain.Method`."""
    found = (graph(images=images_13RR, direction=row[None])["places"] for row in text_TE)
    return np.stack([on_grid(places.reshape(-1)) for places in found])
