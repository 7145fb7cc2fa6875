"""The text tower of other encoders: BERT, DistilBERT, RoBERTa and XLM-R, and what pools them.

A post-norm transformer in which every token sees every other but the padding. The family differs
in little: DistilBERT has no token types, RoBERTa and XLM-R count positions from the padding's id
plus one and have one type. The tensors stand below `bert`: token_embedding/W (V, D),
positional_embedding (P, D), type_embedding (T, D), ln_embedding, transformer/resblocks/i as in
CLIP's towers, ln_pooled, dense/W (B, D) and dense/b where the pooled token goes through them, and
projection/W (E, B) and projection/b where features are projected.

Axes: N batch, L tokens, D width, B width after the dense layer, E width of the features.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from nnclip.errors import CheckpointError
from nnclip.graph.derived import Beside, Derived, NotPadding, PositionsWithoutPadding
from nnclip.graph.layers import (
    ACTIVATIONS,
    MASKED,
    ZERO,
    affine,
    attention,
    gelu,
    layer_norm,
    linear,
    parameter,
)
from nnclip.graph.reading import Reader, option, option_metadata
from nnclip.graph.transformer import BlockConfig, Rows, every_row
from nnclip.nnabla import F, NormalInitializer, nn
from nnclip.text import ForeignTokenizer
from nnclip.text.around import CLEANINGS, Around
from nnclip.text.stored import foreign_tokenizer

SCOPE = "bert"
TABLE = f"{SCOPE}/token_embedding/W"
POOLINGS = {
    "first": "the first token",
    "mean": "the mean of all tokens but the padding",
}
DENSE: dict[str, Callable[[nn.Variable], nn.Variable]] = {
    "identity": lambda x: x,
    "gelu": gelu,
    "tanh": F.tanh,
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
        pooled_norm: whether a norm follows the pooling.
        dense: width of a dense layer after that; 0 without one.
        dense_bias: whether that has a bias.
        dense_activation: what follows it, a key of DENSE.
        projection: width of a linear map after all; 0 without one.
        projection_bias: whether that has a bias.
        clean: what is done to a text before its tokenizer.json, a key of CLEANINGS.
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
    pooled_norm: bool = False
    dense: int = 0
    dense_bias: bool = False
    dense_activation: str = option("bert_dense", "identity", tuple(DENSE))
    clean: str = option("text_clean", "none", tuple(CLEANINGS))

    side: ClassVar[Literal["text"]] = "text"
    trims: ClassVar[str] = "mask"  # no token sees padding
    tokens: ClassVar[str] = "json"
    zeroed: ClassVar[int] = 0
    kind: ClassVar[str] = "BERT encoder"

    @property
    def cleaning(self) -> str:
        """See `TextTower`."""
        return (
            "none: tokenizer.json holds it all" if self.clean == "none" else CLEANINGS[self.clean]
        )

    @property
    def features(self) -> int:
        """Width of the features."""
        return self.projection or self.dense or self.blocks.width

    @property
    def beside(self) -> Beside:
        """The mask of padding, and the positions where they are counted without padding."""
        mask: dict[str, Derived] = {"mask": NotPadding(self.pad)}
        if not self.first_position:
            return mask
        return mask | {"positions": PositionsWithoutPadding(self.pad, self.first_position)}

    @classmethod
    def read(cls, reader: Reader) -> "tuple[BertConfig, int] | None":
        """The tower whose tensors stand below `bert`; None if there are none."""
        if not reader.has(f"{SCOPE}/"):
            return None
        shapes, positions = reader.shapes, reader.shape(f"{SCOPE}/positional_embedding", 2)[0]
        first = reader.integer("bert_first_position", 0, 0)
        config = cls(
            vocabulary=reader.shape(TABLE, 2)[0],
            positions=positions,
            context=reader.integer("bert_context", positions - first, 1),
            blocks=BlockConfig.read(
                reader, f"{SCOPE}/", "bert", ("bert_activation", "gelu"), ("bert_eps", 1e-12)
            ),
            types=(shapes.get(f"{SCOPE}/type_embedding") or (0,))[0],
            pad=reader.integer("bert_pad", 0, 0),
            first_position=first,
            pooling=reader.choice("bert_pooling", "first", POOLINGS),
            projection=(shapes.get(f"{SCOPE}/projection/W") or (0,))[0],
            projection_bias=f"{SCOPE}/projection/b" in shapes,
            pooled_norm=f"{SCOPE}/ln_pooled/W" in shapes,
            dense=(shapes.get(f"{SCOPE}/dense/W") or (0,))[0],
            dense_bias=f"{SCOPE}/dense/b" in shapes,
            **reader.options(cls),
        )
        if config.context > positions - first:
            raise CheckpointError(
                f"metadata bert_context: found {config.context} tokens, expected at most "
                f"{positions - first}, for which there are positions"
            )
        return config, config.features

    def metadata(self) -> dict[str, Any]:
        """What a file must say beside its tensors for `read` to find this tower again."""
        return {
            "bert_activation": self.blocks.activation,
            "bert_heads": self.blocks.heads,
            "bert_eps": self.blocks.eps,
            "bert_context": self.context,
            "bert_pad": self.pad,
            "bert_first_position": self.first_position,
            "bert_pooling": self.pooling,
            "text_tokenizer": self.tokens,
            **option_metadata(self),
        }

    def describe(self) -> str:
        """The kind, the sizes and the pooling."""
        return (
            f"{self.kind}: {self.blocks.describe()}; {self.features} features of "
            f"{POOLINGS[self.pooling]}, texts of at most {self.context} tokens"
        )

    def build(
        self,
        inputs: Mapping[str, nn.Variable],
        width: int,
        hidden: list[nn.Variable] | None = None,
    ) -> nn.Variable:
        """See `TextTower`."""
        return bert_tower(inputs, self, hidden)

    def tokenizer(self, metadata: Mapping[str, Any], path: str | Path) -> ForeignTokenizer:
        """The encoder's own, which its file must carry."""
        stored = metadata.get("tokenizer")
        return foreign_tokenizer(stored, self.pad, self.vocabulary, path, TABLE, Around(self.clean))


def bert_tower(
    inputs: Mapping[str, nn.Variable], config: BertConfig, hidden: list[nn.Variable] | None = None
) -> nn.Variable:
    """Features of texts.

    Args:
        inputs: ids (N, L), L at most the context, and what `BertConfig.beside` makes of them.
            Columns in which all is padding may be cut off: no token sees them.
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
    """Of all matrices and embeddings, as in BERT; made again, since it keeps its generator."""
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
    if config.pooled_norm:
        pooled_ND = layer_norm(pooled_ND, "ln_pooled", config.blocks.eps)
    if config.dense:
        dense_NB = _mapped(pooled_ND, config.dense, config.dense_bias, "dense")
        pooled_ND = DENSE[config.dense_activation](dense_NB)
    if config.projection:
        return _mapped(pooled_ND, config.projection, config.projection_bias, "projection")
    return pooled_ND


def _mapped(x_ND: nn.Variable, out: int, biased: bool, scope: str) -> nn.Variable:
    """A linear map with the parameters `scope`/W (O, D) and, where it is biased, `scope`/b."""
    with nn.parameter_scope(scope):
        w_OD = parameter("W", (out, x_ND.shape[1]), _normal())
        b_O = parameter("b", (out,), ZERO) if biased else None
    return affine(x_ND, w_OD, b_O)
