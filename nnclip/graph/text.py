"""The text tower: a causal transformer, read at the end-of-text token.

Axes: N batch, L tokens, D width, E embedding.
"""

import numpy as np

from nnclip.graph.config import TextConfig
from nnclip.graph.layers import causal_mask, layer_norm, parameter
from nnclip.graph.transformer import scaled_init, transformer
from nnclip.nnabla import F, NormalInitializer, nn
from nnclip.text import end_of_text_positions


def end_of_text(ids_NL: np.ndarray) -> np.ndarray:
    """1 at the first occurrence of each row's highest id, which is the end-of-text token, else 0.

    Integers (N, L) -> float32 (N, L). Found in integers: in half precision the ids 49406 and 49407
    round to the same number, and the start token would be taken for the end.
    """
    return np.eye(ids_NL.shape[1], dtype=np.float32)[end_of_text_positions(ids_NL)]


def text_tower(
    ids_NL: nn.Variable,
    end_NL: nn.Variable,
    config: TextConfig,
    embed: int,
    hidden: list[nn.Variable] | None = None,
) -> nn.Variable:
    """Features of texts.

    Args:
        ids_NL: token ids; L is at most the context. Cutting tokens after the end-of-text token
            changes nothing, since no token sees a later one.
        end_NL: 1 at each text's end-of-text token, else 0. It comes from outside because ids
            beyond 2048 are no longer integers in half precision.
        config: the tower.
        embed: width of the features.
        hidden: where given, the output of each block is appended to it: (N, L, D), of the last
            block only its end-of-text token (N, 1, D).

    Returns: features_NE, not normalised.
    """
    blocks, (n, length) = config.blocks, ids_NL.shape
    width = blocks.width
    with nn.parameter_scope("token_embedding"):
        table = parameter("W", (config.vocabulary, width), NormalInitializer(0.02))
    position_LD = parameter(
        "positional_embedding", (config.context, width), NormalInitializer(0.01)
    )
    proj_DE = parameter("text_projection", (width, embed), NormalInitializer(width**-0.5))
    if length < config.context:
        position_LD = position_LD[:length, :]
    x_NLD = F.embed(ids_NL, table) + F.reshape(position_LD, (1, length, width))
    mask_1LL = causal_mask(length)
    end_N1L = F.reshape(end_NL, (n, 1, length))
    last_mask_1NL = F.batch_matmul(F.reshape(end_NL, (1, n, length)), mask_1LL)
    x_N1D = transformer(
        x_NLD,
        blocks,
        init=scaled_init(blocks),
        mask=F.reshape(mask_1LL, (1, 1, length, length)),
        last_rows=lambda x: F.batch_matmul(end_N1L, x),
        last_mask=F.reshape(last_mask_1NL, (n, 1, 1, length)),
        hidden=hidden,
    )
    x_1ND = F.reshape(layer_norm(x_N1D, "ln_final", blocks.eps), (1, n, width))
    return F.reshape(F.batch_matmul(x_1ND, F.reshape(proj_DE, (1, width, embed))), (n, embed))
