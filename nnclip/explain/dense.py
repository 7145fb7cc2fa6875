"""Dense features: each place as if it were the image, compared with every text in one pass.

| method | in the place of the last block's attention | and its shortcut and MLP |
|---|---|---|
| maskclip | the values alone | stay |
| sclip | queries ask queries, keys ask keys | stay |
| clearclip | queries ask queries | go |

In a convolutional tower with attention pooling, all three are the values of that pooling; without
attention, the places before the average.

Axes: T texts, G places along a side, E embedding; N, H, L, K as in `graph.layers`.

Source: Zhou, Loy and Dai, Extract Free Dense Labels from CLIP (2022), "MaskCLIP"; Wang, Mei and
Yuille, SCLIP: Rethinking Self-Attention for Dense Vision-Language Inference (2024), equation 4; Lan
et al., ClearCLIP: Decomposing CLIP Representations for Dense Vision-Language Inference (2024).
"""

from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from nnclip.embeddings import unit
from nnclip.engine import CompiledGraph, EmittedGraph, emit_graph
from nnclip.explain.relevance import on_grid
from nnclip.explain.scored import single_image
from nnclip.graph.dense import dense_features
from nnclip.graph.layers import Attend
from nnclip.nnabla import F, nn
from nnclip.weights.model import ModelWeights


class Dense(NamedTuple):
    """A method of this file: see the table above."""

    name: str
    attend: Attend
    bare: bool

    def emit(self, weights: ModelWeights) -> EmittedGraph:
        """The image tower with `images` (1, 3, R, R), and `places` (1, G * G, E) of unit length."""
        with single_image(weights) as images:
            places = dense_features(images, weights.config, self.attend, self.bare)
            outputs = {"places": places}
            return emit_graph(
                {"images": images}, outputs, dynamic_batch=False, arrays=weights.unread()
            )

    def maps(
        self, graph: CompiledGraph, images_13RR: np.ndarray, text_TE: np.ndarray
    ) -> np.ndarray:
        """(T, G, G) float32, cosines; see `explain.Method`."""
        cosines_TL = text_TE @ unit(graph(images=images_13RR)["places"][0]).T
        return np.stack([on_grid(row) for row in cosines_TL])


def _values(_q: nn.Variable, _k: nn.Variable, v_NHLK: nn.Variable) -> nn.Variable:
    return v_NHLK


def _both(q: nn.Variable, k: nn.Variable, v: nn.Variable) -> nn.Variable:
    return F.batch_matmul(_own(q) + _own(k), v)


def _queries(q: nn.Variable, _k: nn.Variable, v: nn.Variable) -> nn.Variable:
    return F.batch_matmul(_own(q), v)


def _own(x_NHLK: nn.Variable) -> nn.Variable:
    """How much each token's query, or key, is like each other's, (N, H, L, L)."""
    scale = x_NHLK.shape[-1] ** -0.5
    return F.softmax(F.batch_matmul(x_NHLK * scale, x_NHLK, transpose_b=True), axis=3)


MASKCLIP = Dense("maskclip", _values, bare=False)
SCLIP = Dense("sclip", _both, bare=False)
CLEARCLIP = Dense("clearclip", _queries, bare=True)
DENSE = MappingProxyType({it.name: it for it in (MASKCLIP, SCLIP, CLEARCLIP)})
