"""Transformer relevance: attention times its gradient, carried through the blocks.

Axes: L tokens, M tokens that are asked for.

Source: Chefer, Gur and Wolf, Generic Attention-model Explainability for Interpreting Bi-Modal and
Encoder-Decoder Transformers (2021), equations 5 and 6.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from nnclip.engine import CompiledGraph, EmittedGraph
from nnclip.errors import ConfigError
from nnclip.explain.scored import images_scored, texts_scored
from nnclip.graph.watching import Watched, watching
from nnclip.nnabla import nn
from nnclip.weights.model import ModelWeights

NAME = "relevance"
READ, POOL = "read", "pool"


def emit(weights: ModelWeights) -> EmittedGraph:
    """The image tower with `images` (1, 3, R, R) and `direction` (1, E): what its blocks attend to.

    Raises:
        ConfigError: the tower has no attention, or in some of its stages only.
    """
    with images_scored(weights) as scored, watching() as seen:
        inputs, score, hidden = scored()
        if not seen.pool and (not seen.attention or hidden[-1].ndim != 3):
            raise ConfigError(
                f"found a {weights.config.image.kind} without attention all through, which "
                "method='relevance' follows; use method='grad-cam'"
            )
        return _emitted(weights, inputs, score, seen, hidden)


def emit_words(weights: ModelWeights) -> EmittedGraph:
    """The text tower with its inputs (1, context) and `direction` (1, E)."""
    with texts_scored(weights) as scored, watching() as seen:
        inputs, score, hidden = scored()
        return _emitted(weights, inputs, score, seen, hidden)


def _emitted(
    weights: ModelWeights,
    inputs: Mapping[str, nn.Variable],
    score: nn.Variable,
    seen: Watched,
    hidden: Sequence[nn.Variable],
) -> EmittedGraph:
    # with OpenVINO, which is imported where something is compiled
    from nnclip.engine.attributed import (
        Combine,
        emit_attributed,
        gradient_length,
        positive_attention,
    )

    asked: dict[str, tuple[nn.Variable, Combine]] = {}
    if hidden[-1].ndim == 3:  # blocks of a transformer
        for number, attention in enumerate(seen.attention):
            asked[f"block{number}"] = attention, positive_attention
        asked[READ] = hidden[-1], gradient_length
    for attention in seen.pool:
        asked[POOL] = attention, positive_attention
    return emit_attributed(inputs, score, asked, weights.unread())


def rolled_out(found: Mapping[str, np.ndarray], row: int, own: bool = True) -> np.ndarray:
    """What each token has to do with the score, (L,) float32, at least 0.

    Args:
        found: outputs of a graph of `emit` or `emit_words`, for one image or text.
        row: the token that is read after the last block, where that computes no other.
        own: count that a token that is read sees itself through all shortcuts.
    """
    blocks = [found[f"block{i}"][0] for i in range(sum(n.startswith("block") for n in found))]
    if not blocks:  # a convolutional tower: its pooling sees the places as they are
        return found[POOL].reshape(-1)
    itself_LL = relevance_LL = np.eye(blocks[0].shape[1], dtype=np.float32)
    for block_ML in blocks:
        if len(block_ML) == len(relevance_LL):
            relevance_LL = relevance_LL + block_ML @ relevance_LL
        else:
            itself_LL = itself_LL[[row]]
            relevance_LL = relevance_LL[[row]] + block_ML @ relevance_LL
    if not own:
        relevance_LL = relevance_LL - itself_LL
    read_M = found[POOL].reshape(-1) if POOL in found else found[READ][0]
    return read_M / max(read_M.sum(), np.finfo(np.float32).tiny) @ relevance_LL


def on_grid(relevance_L: np.ndarray) -> np.ndarray:
    """Relevance of tokens -> that of the places, (G, G); tokens before them are left out."""
    side = int(len(relevance_L) ** 0.5)
    return relevance_L[len(relevance_L) - side * side :].reshape(side, side)


def maps(graph: CompiledGraph, images_13RR: np.ndarray, text_TE: np.ndarray) -> np.ndarray:
    """(T, G, G) float32, at least 0; see `explain.Method`."""
    found = (graph(images=images_13RR, direction=row[None]) for row in text_TE)
    return np.stack([on_grid(rolled_out(each, 0)) for each in found])
