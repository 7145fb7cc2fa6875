"""The text tower of other encoders: BERT, DistilBERT, RoBERTa and XLM-R, and what pools them.

A post-norm transformer in which every token sees every other but the padding. The family differs
in little: DistilBERT has no token types, RoBERTa and XLM-R count positions from the padding's id
plus one and have one type. The tensors stand below `bert`: token_embedding/W (V, D),
positional_embedding (P, D), type_embedding (T, D), ln_embedding, transformer/resblocks/i as in
CLIP's towers, and projection/W (E, D) and projection/b where features are projected.

Axes: N batch, L tokens, D width, E width of the features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnclip.errors import CheckpointError, DataError
from nnclip.graph.layers import (
    ACTIVATIONS,
    MASKED,
    ZERO,
    affine,
    attention,
    layer_norm,
    linear,
    parameter,
)
from nnclip.graph.reading import Reader
from nnclip.graph.transformer import BlockConfig, Rows, every_row
from nnclip.nnabla import F, NormalInitializer, nn

SCOPE = "bert"
POOLINGS = {
    "first": "the first token",
    "mean": "the mean of all tokens but the padding",
}


@dataclass(frozen=True)
class BertConfig:
    """An encoder of texts with what makes one feature of its tokens.

    Attributes:
        vocabulary: rows of the token table.
        positions: rows of the position table.
        context: tokens of the longest text, start and end included.
        blocks: the post-norm blocks; their epsilon is also that of the embeddings' norm.
        types: rows of the token type table, of which the first is used; 0 without one.
        pad: the id of padding, which no token sees.
        first_position: row of the first token's position; above 0, padding is not counted.
        pooling: a key of POOLINGS.
        projection: width of a linear map after pooling; 0 without one.
        projection_bias: whether that has a bias.
    """

    vocabulary: int
    positions: int
    context: int
    blocks: BlockConfig
    types: int = 0
    pad: int = 0
    first_position: int = 0
    pooling: str = "first"
    projection: int = 0
    projection_bias: bool = False

    @property
    def features(self) -> int:
        """Width of the features."""
        return self.projection or self.blocks.width


def beside_ids(ids_NL: np.ndarray, config: BertConfig) -> dict[str, np.ndarray]:
    """What the graph reads beside ids, computed in integers.

    Args:
        ids_NL: integers.
        config: the tower.

    Returns: mask, (N, L) float32: 1 for a token, 0 for padding; and, where padding is not counted,
        positions, (N, L) int32.

    Raises:
        DataError: a text without any token.

    Source: RoBERTa's `make_positions` in fairseq.
    """
    real_NL = ids_NL != config.pad
    if not real_NL.any(axis=1).all():
        row = int(real_NL.any(axis=1).argmin())
        raise DataError(
            f"ids: found only padding ({config.pad}) in row {row}, expected at least a start and "
            "an end"
        )
    mask = {"mask": real_NL.astype(np.float32)}
    if config.first_position == 0:
        return mask
    counted_NL = np.cumsum(real_NL, axis=1) * real_NL
    return mask | {"positions": (counted_NL + config.first_position - 1).astype(np.int32)}


def bert_tower(
    inputs: Mapping[str, nn.Variable], config: BertConfig, hidden: list[nn.Variable] | None = None
) -> nn.Variable:
    """Features of texts.

    Args:
        inputs: ids (N, L), L at most the context, and what `beside_ids` makes of them. Columns in
            which all is padding may be cut off: no token sees them.
        config: the tower.
        hidden: where given, the output of each block is appended to it: (N, L, D), of the last
            block only the first token (N, 1, D) where only that is pooled.

    Returns: features_NE, not normalised.

    Source: BERT (Devlin et al.), section 3; RoBERTa; DistilBERT; XLM-R.
    """
    mask_NL, width = inputs["mask"], config.blocks.width
    n, length = mask_NL.shape
    with nn.parameter_scope(SCOPE):
        x_NLD = layer_norm(_embedded(inputs, config), "ln_embedding", config.blocks.eps)
        hidden_from = F.reshape((mask_NL - 1.0) * -MASKED, (n, 1, 1, length))
        for i in range(config.blocks.layers):
            last = i == config.blocks.layers - 1
            rows = _first if last and config.pooling == "first" else every_row
            with nn.parameter_scope(f"transformer/resblocks/{i}"):
                x_NLD = _block(x_NLD, config.blocks, hidden_from, rows)
            if hidden is not None:
                hidden.append(x_NLD)
        if config.pooling == "mean":
            sum_N1D = F.batch_matmul(F.reshape(mask_NL, (n, 1, length)), x_NLD)
            count_N1 = F.sum(mask_NL, axis=1, keepdims=True)
            pooled_ND = F.reshape(sum_N1D, (n, width)) / count_N1
        else:
            pooled_ND = F.reshape(x_NLD, (n, width))
        return _projected(pooled_ND, config)


def _normal() -> NormalInitializer:
    """Of all matrices and embeddings, as in BERT; made anew, since it keeps its generator."""
    return NormalInitializer(0.02)


def _first(x_NLD: nn.Variable) -> nn.Variable:
    return x_NLD[:, :1, :]


def _embedded(inputs: Mapping[str, nn.Variable], config: BertConfig) -> nn.Variable:
    """The sum of token, position and type embeddings, (N, L, D)."""
    width, length = config.blocks.width, inputs["ids"].shape[1]
    with nn.parameter_scope("token_embedding"):
        tokens_VD = parameter("W", (config.vocabulary, width), _normal())
    positions_PD = parameter("positional_embedding", (config.positions, width), _normal())
    if "positions" in inputs:
        added = F.embed(inputs["positions"], positions_PD)
    else:
        added = F.reshape(positions_PD[:length, :], (1, length, width))
    if config.types:
        types_TD = parameter("type_embedding", (config.types, width), _normal())
        added = added + F.reshape(types_TD[:1, :], (1, 1, width))
    return F.embed(inputs["ids"], tokens_VD) + added


def _block(x_NLD: nn.Variable, config: BlockConfig, mask: nn.Variable, rows: Rows) -> nn.Variable:
    """One post-norm block, computed for the tokens that `rows` selects: (N, M, D)."""
    with nn.parameter_scope("attn"):
        init = (_normal(), _normal())
        y_NMD = attention(x_NLD, config.heads, rows=rows, mask=mask, init=init)
    x_NMD = layer_norm(rows(x_NLD) + y_NMD, "ln_1", config.eps)
    with nn.parameter_scope("mlp"):
        y = ACTIVATIONS[config.activation](linear(x_NMD, config.hidden, "c_fc", _normal(), ZERO))
        y_NMD = linear(y, config.width, "c_proj", _normal(), ZERO)
    return layer_norm(x_NMD + y_NMD, "ln_2", config.eps)


def _projected(pooled_ND: nn.Variable, config: BertConfig) -> nn.Variable:
    if not config.projection:
        return pooled_ND
    shape_ED = (config.projection, pooled_ND.shape[1])
    with nn.parameter_scope("projection"):
        w_ED = parameter("W", shape_ED, _normal())
        b_E = parameter("b", shape_ED[:1], ZERO) if config.projection_bias else None
    return affine(pooled_ND, w_ED, b_E)


def is_bert(reader: Reader) -> bool:
    """Whether the text tower of a file is one of these."""
    return any(name.startswith(f"{SCOPE}/") for name in reader.shapes)


def read_bert(reader: Reader) -> BertConfig:
    """The tower whose tensors stand below `bert`; CheckpointError if it is not whole."""
    shapes, positions = reader.shapes, reader.shape(f"{SCOPE}/positional_embedding", 2)[0]
    first = int(reader.number("bert_first_position", 0, 0))
    config = BertConfig(
        vocabulary=reader.shape(f"{SCOPE}/token_embedding/W", 2)[0],
        positions=positions,
        context=int(reader.number("bert_context", positions - first, 1)),
        blocks=reader.blocks(
            f"{SCOPE}/", "bert_heads", ("bert_activation", "gelu"), ("bert_eps", 1e-12)
        ),
        types=(shapes.get(f"{SCOPE}/type_embedding") or (0,))[0],
        pad=int(reader.number("bert_pad", 0, 0)),
        first_position=first,
        pooling=reader.choice("bert_pooling", "first", POOLINGS),
        projection=(shapes.get(f"{SCOPE}/projection/W") or (0,))[0],
        projection_bias=f"{SCOPE}/projection/b" in shapes,
    )
    if config.context > positions - first:
        raise CheckpointError(
            f"metadata bert_context: found {config.context} tokens, expected at most "
            f"{positions - first}, for which there are positions"
        )
    return config


def bert_metadata(config: BertConfig) -> dict[str, Any]:
    """What a file must say beside its tensors for `read_bert` to find `config` again."""
    return {
        "bert_activation": config.blocks.activation,
        "bert_heads": config.blocks.heads,
        "bert_eps": config.blocks.eps,
        "bert_context": config.context,
        "bert_pad": config.pad,
        "bert_first_position": config.first_position,
        "bert_pooling": config.pooling,
    }
