"""CLIP in NNabla as it is usually written: torch's weights, transposed in every call.

What nnclip's own graph is compared with. It has no trick at all: a convolution for the patches, one
product for queries, keys and values, every token computed in every block.

Axes: N batch, L tokens, D width, H heads, K width of a head, E embedding, R resolution.
"""

from collections.abc import Mapping

import nnabla as nn
import nnabla.functions as F
import numpy as np

from nnclip.graph.config import BlockConfig, ClipConfig

Parameters = Mapping[str, nn.Variable]


def linear(x: nn.Variable, w_OD: nn.Variable, b: nn.Variable | None = None) -> nn.Variable:
    """An affine layer over the last axis; NNabla's wants the weight as (D, O)."""
    return F.affine(x, F.transpose(w_OD, (1, 0)), b, base_axis=x.ndim - 1)


def norm(x: nn.Variable, p: Parameters, name: str) -> nn.Variable:
    """Layer normalisation."""
    shape = (1,) * (x.ndim - 1) + (x.shape[-1],)
    beta, gamma = F.reshape(p[f"{name}/b"], shape), F.reshape(p[f"{name}/W"], shape)
    return F.layer_normalization(x, beta, gamma, batch_axis=tuple(range(x.ndim - 1)), eps=1e-5)


def attention(x_NLD: nn.Variable, p: Parameters, name: str, heads: int, mask: nn.Variable | None):
    """Multi-head self-attention."""
    n, length, width = x_NLD.shape
    qkv = linear(x_NLD, p[f"{name}/in_proj_W"], p[f"{name}/in_proj_b"])
    qkv = F.transpose(F.reshape(qkv, (n, length, 3, heads, width // heads)), (2, 0, 3, 1, 4))
    q_NHLK, k_NHLK, v_NHLK = F.split(qkv)
    scores = F.batch_matmul(q_NHLK, k_NHLK, transpose_b=True) * (width // heads) ** -0.5
    if mask is not None:
        scores = scores + mask
    y = F.transpose(F.batch_matmul(F.softmax(scores), v_NHLK), (0, 2, 1, 3))
    y = F.reshape(y, (n, length, width))
    return linear(y, p[f"{name}/out_proj/W"], p[f"{name}/out_proj/b"])


def blocks(
    x_NLD: nn.Variable, p: Parameters, prefix: str, config: BlockConfig, mask: nn.Variable | None
) -> nn.Variable:
    """All transformer blocks."""
    for i in range(config.layers):
        name = f"{prefix}transformer/resblocks/{i}"
        y = norm(x_NLD, p, f"{name}/ln_1")
        x_NLD = x_NLD + attention(y, p, f"{name}/attn", config.heads, mask)
        y = linear(norm(x_NLD, p, f"{name}/ln_2"), p[f"{name}/mlp/c_fc/W"], p[f"{name}/mlp/c_fc/b"])
        y = y * F.sigmoid(1.702 * y)
        x_NLD = x_NLD + linear(y, p[f"{name}/mlp/c_proj/W"], p[f"{name}/mlp/c_proj/b"])
    return x_NLD


def image_features(images_N3RR: nn.Variable, p: Parameters, config: ClipConfig) -> nn.Variable:
    """(N, 3, R, R) -> (N, E)."""
    image, n = config.image, images_N3RR.shape[0]
    width = image.blocks.width
    x = F.convolution(images_N3RR, p["visual/conv1/W"], stride=(image.patch, image.patch))
    x = F.transpose(F.reshape(x, (n, width, -1)), (0, 2, 1))
    first = F.broadcast(F.reshape(p["visual/class_embedding"], (1, 1, width)), (n, 1, width))
    positions = F.reshape(p["visual/positional_embedding"], (1, image.tokens, width))
    x = norm(F.concatenate(first, x, axis=1) + positions, p, "visual/ln_pre")
    x = blocks(x, p, "visual/", image.blocks, None)
    x = norm(F.reshape(x[:, :1, :], (n, width)), p, "visual/ln_post")
    return F.affine(x, p["visual/proj"])


def text_features(ids_NL: nn.Variable, end_NL: nn.Variable, p: Parameters, config: ClipConfig):
    """(N, L) ids and a mark at each end of text -> (N, E)."""
    n, length = ids_NL.shape
    width = config.text.blocks.width
    positions = F.reshape(p["positional_embedding"], (1, length, width))
    mask = np.triu(np.full((1, 1, length, length), -1e9, np.float32), 1)
    x = F.embed(ids_NL, p["token_embedding/W"]) + positions
    x = blocks(x, p, "", config.text.blocks, nn.Variable.from_numpy_array(mask))
    x = F.batch_matmul(F.reshape(end_NL, (n, 1, length)), norm(x, p, "ln_final"))
    return F.affine(F.reshape(x, (n, width)), p["text_projection"])
