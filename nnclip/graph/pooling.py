"""Attention pooling: a learned query asks all tokens.

Axes: N batch, L tokens, D width of a token, E width of the query, Q queries, H heads, K width of a
head.
"""

import math
from collections.abc import Sequence

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
from nnclip.graph.watching import watched
from nnclip.nnabla import F, NormalInitializer, UniformInitializer, nn


def attention_pool(
    x_NLD: nn.Variable,
    blocks: BlockConfig,
    heads: int,
    hidden: int,
    each: bool = False,
    mask: nn.Variable | None = None,
) -> nn.Variable:
    """Tokens (N, L, D) -> (N, 1, D), under the scope `attn_pool`: one query, and an MLP behind it.

    Args:
        x_NLD: the tokens.
        blocks: whose activation and epsilon it has.
        heads: of the query.
        hidden: width inside the MLP.
        each: let the query find each token alone, (N, L, D).
        mask: added to the scores, broadcastable to (N, H, 1, L), or None.

    Source: Zhai et al., Scaling Vision Transformers (2022), "MAP head"; timm's AttentionPoolLatent.
    """
    width = x_NLD.shape[-1]
    with nn.parameter_scope("attn_pool"):
        probe_11D = parameter("probe", (1, 1, width), NormalInitializer(width**-0.5))
        w = _stacked(width)
        b = F.split(F.reshape(parameter("in_proj_b", (3 * width,), ZERO), (3, width)))
        y_N1D = _asked(probe_11D, x_NLD, w, b, heads, each, mask)
        z_N1D = layer_norm(y_N1D, "ln", blocks.eps)
        with nn.parameter_scope("mlp"):
            z = ACTIVATIONS[blocks.activation](linear(z_N1D, hidden, "c_fc"))
            return y_N1D + linear(z, width, "c_proj")


def query_pool(
    x_NLD: nn.Variable, width: int, queries: int, heads: int, eps: float, each: bool = False
) -> nn.Variable:
    """Tokens (N, L, D) -> (N, 1, E), under the scope `attn_pool`: the first of the queries asks.

    The other queries are for a decoder of captions; they are kept, and nothing reads them.

    Args:
        x_NLD: the tokens.
        width: E.
        queries: Q.
        heads: of a query.
        eps: of the norms of queries and tokens.
        each: let the query find each token alone, (N, L, E).

    Source: Yu et al., CoCa (2022), "attentional pooling"; open_clip's AttentionalPooler.
    """
    with nn.parameter_scope("attn_pool"):
        query_QE = parameter("query", (queries, width), NormalInitializer(1.0))
        query_11E = layer_norm(F.reshape(query_QE[:1, :], (1, 1, width)), "ln_q", eps)
        x_NLD = layer_norm(x_NLD, "ln_k", eps)
        w = _stacked(width) if x_NLD.shape[-1] == width else _apart(width, x_NLD.shape[-1])
        b = F.split(F.reshape(parameter("in_proj_b", (3 * width,), ZERO), (3, width)))
        return _asked(query_11E, x_NLD, w, b, heads, each)


def _xavier(out: int, width: int) -> UniformInitializer:
    bound = math.sqrt(6 / (out + width))
    return UniformInitializer((-bound, bound))


def _stacked(width: int) -> Sequence[nn.Variable]:
    """The matrices of query, keys and values, which are stored as one, as in torch."""
    w = parameter("in_proj_W", (3 * width, width), _xavier(3 * width, width))
    return F.split(F.reshape(w, (3, width, width)))


def _apart(width: int, tokens: int) -> Sequence[nn.Variable]:
    """The same where tokens have another width than the query."""
    found = []
    for name, inside in (("q_proj", width), ("k_proj", tokens), ("v_proj", tokens)):
        with nn.parameter_scope(name):
            found.append(parameter("W", (width, inside), _xavier(width, inside)))
    return found


def _asked(
    query_11E: nn.Variable,
    x_NLD: nn.Variable,
    w: Sequence[nn.Variable],
    b: Sequence[nn.Variable],
    heads: int,
    each: bool,
    mask: nn.Variable | None = None,
) -> nn.Variable:
    """What one query finds in the tokens, (N, 1, E); or in each token, if that were all it saw."""
    n, width = x_NLD.shape[0], query_11E.shape[-1]
    if each:
        return linear(affine(x_NLD, w[2], b[2]), width, "out_proj", None, ZERO)
    # the query is the same for every image: a constant for the compiler
    q_1H1K = split_heads(affine(query_11E, w[0], b[0]), heads) * (width // heads) ** -0.5
    k_NHLK = split_heads(affine(x_NLD, w[1], b[1]), heads)
    v_NHLK = split_heads(affine(x_NLD, w[2], b[2]), heads)
    scores_NH1L = F.batch_matmul(q_1H1K, k_NHLK, transpose_b=True)
    if mask is not None:
        scores_NH1L = scores_NH1L + mask
    y_NH1K = F.batch_matmul(watched("pool", F.softmax(scores_NH1L, axis=3)), v_NHLK)
    y_N1E = F.reshape(F.transpose(y_NH1K, (0, 2, 1, 3)), (n, 1, width))
    return linear(y_N1E, width, "out_proj", None, ZERO)
