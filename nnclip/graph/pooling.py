"""Attention pooling: one learned query asks all tokens, and an MLP follows.

Source: Zhai et al., Scaling Vision Transformers (2022), "MAP head"; timm's AttentionPoolLatent.

Axes: N batch, L tokens, D width, H heads, K width of a head.
"""

import math

from nnclip.graph.layers import (
    ACTIVATIONS,
    ZERO,
    affine,
    layer_norm,
    linear,
    parameter,
    split_heads,
)
from nnclip.graph.transformer import BlockConfig
from nnclip.nnabla import F, NormalInitializer, UniformInitializer, nn


def attention_pool(x_NLD: nn.Variable, blocks: BlockConfig, heads: int, hidden: int) -> nn.Variable:
    """Tokens (N, L, D) -> (N, 1, D), under the scope `attn_pool`.

    Args:
        x_NLD: the tokens.
        blocks: whose activation and epsilon it has.
        heads: of the query.
        hidden: width inside the MLP.
    """
    n, _, width = x_NLD.shape
    xavier = UniformInitializer((-math.sqrt(6 / (4 * width)), math.sqrt(6 / (4 * width))))
    with nn.parameter_scope("attn_pool"):
        probe_11D = parameter("probe", (1, 1, width), NormalInitializer(width**-0.5))
        stacked_w = parameter("in_proj_W", (3 * width, width), xavier)
        stacked_b = parameter("in_proj_b", (3 * width,), ZERO)
        w = F.split(F.reshape(stacked_w, (3, width, width)))
        b = F.split(F.reshape(stacked_b, (3, width)))
        # the query is the same for every image: a constant for the compiler
        q_1H1K = split_heads(affine(probe_11D, w[0], b[0]), heads) * (width // heads) ** -0.5
        k_NHLK = split_heads(affine(x_NLD, w[1], b[1]), heads)
        v_NHLK = split_heads(affine(x_NLD, w[2], b[2]), heads)
        scores_NH1L = F.batch_matmul(q_1H1K, k_NHLK, transpose_b=True)
        y_NH1K = F.batch_matmul(F.softmax(scores_NH1L, axis=3), v_NHLK)
        y_N1D = F.reshape(F.transpose(y_NH1K, (0, 2, 1, 3)), (n, 1, width))
        y_N1D = linear(y_N1D, width, "out_proj", None, ZERO)
        z_N1D = layer_norm(y_N1D, "ln", blocks.eps)
        with nn.parameter_scope("mlp"):
            z = ACTIVATIONS[blocks.activation](linear(z_N1D, hidden, "c_fc"))
            return y_N1D + linear(z, width, "c_proj")
