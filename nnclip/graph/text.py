"""CLIP's text tower: a transformer, causal or not, read at one of its tokens.

Axes: N batch, L tokens, D width, E embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from nnclip.errors import CheckpointError
from nnclip.graph.derived import Beside, FirstEqual, FirstHighest, NotPadding
from nnclip.graph.layers import (
    MASKED,
    causal_mask,
    layer_norm,
    parameter,
    projected,
    projection_matrix,
)
from nnclip.graph.reading import Reader, option, option_metadata
from nnclip.graph.transformer import BlockConfig, Rows, scaled_init, transformer
from nnclip.nnabla import F, NormalInitializer, nn
from nnclip.text import AnyTokenizer
from nnclip.text.around import CLEANINGS, Around
from nnclip.text.stored import foreign_tokenizer, own_tokenizer

TABLE = "token_embedding/W"
POSITIONS = "positional_embedding"


@dataclass(frozen=True)
class TextConfig:
    """CLIP's text transformer, and what other families change in it.

    Attributes:
        vocabulary: rows of the token table.
        context: tokens of the longest text.
        blocks: the transformer.
        causal: whether no token sees a later one. Where each sees all, it sees the padding too,
            and every text has all `context` tokens.
        pool: the token that is read: "argmax" the first with the highest id, "eos" the first with
            the id `eos`, "last" the last of the context, padding or not, "class" a learned one
            behind the context, see `key_mask`.
        eos: see `pool`.
        tokens: whose tokenizer it has: a byte-level BPE laid out as CLIP's, or any tokenizer.json.
        pad: the id that fills up short texts.
        clean: what is done to a text before its tokenizer.json; of CLIP's own tokenizer "lower".
        zeroed: the id that 0 replaces after tokenizing, 0 for none.
        pad_left: whether short texts are filled up before their first token.
        projection: "matrix" (D, E), "linear" with a bias, or "none".
        features: width that a file projects to, where it does; not a part of what the tower is.
    """

    vocabulary: int
    context: int  # tokens
    blocks: BlockConfig
    causal: bool = option("text_causal", True, (True, False))
    pool: str = option("text_pool", "argmax", ("argmax", "eos", "last", "class"))
    eos: int = option("text_eos", 0, ())
    tokens: str = option("text_tokenizer", "clip", ("clip", "json"))
    pad: int = option("text_pad", 0, ())
    clean: str = option("text_clean", "lower", tuple(CLEANINGS))
    zeroed: int = option("text_zeroed", 0, ())
    pad_left: bool = option("text_pad_left", False, (True, False))
    projection: str = "matrix"
    features: int = field(default=0, repr=False, compare=False)

    side: ClassVar[Literal["text"]] = "text"

    @property
    def beside(self) -> Beside:
        """See `TextTower`."""
        ends: dict[str, Beside] = {
            "argmax": {"end": FirstHighest()},
            "eos": {"end": FirstEqual(self.eos)},
            "last": {},
            "class": {"mask": NotPadding(self.pad)},
        }
        return ends[self.pool]

    @property
    def cleaning(self) -> str:
        """See `TextTower`."""
        return CLEANINGS[self.clean]

    @property
    def trims(self) -> str | None:
        """What follows the end of a text is seen by nothing, if no token sees a later one."""
        cut = self.causal and "end" in self.beside and not self.pad_left
        return "end" if cut else None

    @property
    def positions(self) -> int:
        """How many there are: one for each token, and for the class token."""
        return self.context + (self.pool == "class")

    @property
    def kind(self) -> str:
        """See `TextTower`."""
        if self.pool == "class":
            return "causal " * self.causal + "text transformer with a class token"
        return "causal text transformer" if self.causal else "text transformer without a mask"

    @classmethod
    def read(cls, reader: Reader) -> "tuple[TextConfig, int] | None":
        """The tower of these tensors; None if there is no table of tokens at the top."""
        if not any(map(reader.has, (TABLE, "transformer/", "text_projection"))):
            return None
        projection, width = _projection(reader)
        config = cls(
            vocabulary=reader.shape(TABLE, 2)[0],
            context=_context(reader),
            # Joined of two models, the sides may differ; elsewhere they are told together.
            blocks=BlockConfig.read(
                reader,
                "",
                "text",
                ("text_activation", reader.metadata.get("activation", "quick_gelu")),
                ("text_layer_norm_eps", reader.metadata.get("layer_norm_eps", 1e-5)),
            ),
            projection=projection,
            features=width,
            **reader.options(cls),
        )
        return config, width or config.blocks.width

    def metadata(self) -> dict[str, Any]:
        """What a file must say for `read` to find this tower again."""
        return {
            "text_activation": self.blocks.activation,
            "text_heads": self.blocks.heads,
            "text_layer_norm_eps": self.blocks.eps,
            **({"text_projection": "none"} if self.projection == "none" else {}),
            **option_metadata(self.blocks, "text_"),
            **option_metadata(self),
        }

    def describe(self) -> str:
        """The kind and the sizes."""
        return f"{self.kind}: {self.blocks.describe()}, texts of at most {self.context} tokens"

    def build(
        self,
        inputs: Mapping[str, nn.Variable],
        width: int,
        hidden: list[nn.Variable] | None = None,
    ) -> nn.Variable:
        """See `TextTower`."""
        return text_tower(inputs, self, width, hidden)

    def tokenizer(self, metadata: Mapping[str, Any], path: str | Path) -> AnyTokenizer:
        """The tokenizer that the file carries, else OpenAI's; it must fit the token table."""
        stored = metadata.get("tokenizer")
        if self.tokens == "json":
            around = Around(self.clean, self.zeroed, self.pad_left)
            return foreign_tokenizer(stored, self.pad, self.vocabulary, path, TABLE, around)
        return own_tokenizer(stored, self.vocabulary, path, TABLE)


def _context(reader: Reader) -> int:
    """The positions, but for that of a class token."""
    rows = reader.shape(POSITIONS, 2)[0]
    if reader.metadata.get("text_pool") != "class":
        return rows
    if rows == 1:
        raise CheckpointError(
            f"tensor {POSITIONS}: found 1 row, expected one for each token and for the class token"
        )
    return rows - 1


def _projection(reader: Reader) -> tuple[str, int]:
    """How features are projected, and to what width; 0 where they are not."""
    if reader.has("text_projection/"):
        return "linear", reader.shape("text_projection/W", 2)[0]
    if reader.metadata.get("text_projection") == "none" and not reader.has("text_projection"):
        return "none", 0
    return "matrix", reader.shape("text_projection", 2)[1]


def text_tower(
    inputs: Mapping[str, nn.Variable],
    config: TextConfig,
    embed: int,
    hidden: list[nn.Variable] | None = None,
) -> nn.Variable:
    """Features of texts.

    Args:
        inputs: `ids` (N, L), L the context, or less where the tower trims; and what
            `TextConfig.beside` makes of them: `end` is 1 at each text's end-of-text token, else 0,
            `mask` 1 for each token, 0 for padding. They come from outside because ids beyond 2048
            are no longer integers in half precision.
        config: the tower.
        embed: width of the features.
        hidden: where given, the output of each block is appended to it: (N, L, D), of the last
            block only the token that is read (N, 1, D).

    Returns: features_NE, not normalised.
    """
    blocks = config.blocks
    x_NLD = _embedded(inputs["ids"], config, embed)
    mask, last_mask = _masks(inputs, config, x_NLD.shape[1])
    x_N1D = transformer(
        x_NLD,
        blocks,
        init=scaled_init(blocks),
        mask=mask,
        last_rows=_rows_at(inputs.get("end")),
        last_mask=last_mask,
        hidden=hidden,
    )
    x_ND = F.reshape(layer_norm(x_N1D, "ln_final", blocks.eps), (-1, blocks.width))
    return projected(x_ND, embed, config.projection, "text_projection")


def _embedded(ids_NL: nn.Variable, config: TextConfig, embed: int) -> nn.Variable:
    """The tokens at their positions (N, L, D), and behind them the class token where there is one.

    It also makes the projection's matrix, in the order of published files.
    """
    width, length = config.blocks.width, ids_NL.shape[1]
    normal = NormalInitializer(0.01)
    with nn.parameter_scope("token_embedding"):
        table = parameter("W", (config.vocabulary, width), NormalInitializer(0.02))
    position_LD = parameter(POSITIONS, (config.positions, width), normal)
    if config.projection == "matrix":
        projection_matrix(width, embed, "text_projection")
    if length < config.context:
        position_LD = position_LD[:length, :]
    x_NLD, rows = F.embed(ids_NL, table), position_LD.shape[0]
    added_1LD = F.reshape(position_LD, (1, rows, width))
    if config.pool == "class":  # one constant with the positions, which know no batch
        class_D = parameter("class_embedding", (width,), normal)
        added_1LD = added_1LD + F.pad(F.reshape(class_D, (1, 1, -1)), (0, 0, rows - 1, 0, 0, 0))
        x_NLD = F.pad(x_NLD, (0, 0, 0, 1, 0, 0))
    return x_NLD + added_1LD


def _masks(
    inputs: Mapping[str, nn.Variable], config: TextConfig, length: int
) -> tuple[nn.Variable | None, nn.Variable | None]:
    """What is added to the scores of every token, and to those of the token that is read."""
    mask = last_mask = None
    end_NL = inputs.get("end")
    if config.causal:
        mask_1LL = causal_mask(length)
        mask = F.reshape(mask_1LL, (1, 1, length, length))
        if end_NL is not None:  # the last token sees all
            n = end_NL.shape[0]
            last_mask_1NL = F.batch_matmul(F.reshape(end_NL, (1, n, length)), mask_1LL)
            last_mask = F.reshape(last_mask_1NL, (n, 1, 1, length))
    if config.pool == "class":
        last_mask = key_mask(inputs["mask"])
        mask = last_mask if mask is None else mask + last_mask
    return mask, last_mask


def key_mask(mask_NL: nn.Variable) -> nn.Variable:
    """(N, 1, 1, L + 1): which keys count for every token of a tower with a class token.

    The first counts always, and each that follows a token: published weights were trained with
    the mask of padding shifted by one. So the class token sees one padding too, and itself only
    in a text that fills the context.

    Args:
        mask_NL: 1 for each token, 0 for padding.

    Source: open_clip's `TextTransformer._build_additive_mask`.
    """
    n, length = mask_NL.shape
    hidden_from_NL = (mask_NL - 1.0) * -MASKED
    return F.reshape(F.pad(hidden_from_NL, (0, 0, 1, 0)), (n, 1, 1, length + 1))


def _rows_at(end_NL: nn.Variable | None) -> Rows:
    """Picks the token where `end_NL` is 1, or the last one."""
    if end_NL is None:
        return lambda x_NLD: x_NLD[:, -1:, :]
    n, length = end_NL.shape
    return lambda x_NLD: F.batch_matmul(F.reshape(end_NL, (n, 1, length)), x_NLD)
