"""CLIP's text tower: a transformer, causal or not, read at the end-of-text token.

Axes: N batch, L tokens, D width, E embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from nnclip.graph.derived import Beside, FirstHighest
from nnclip.graph.layers import causal_mask, layer_norm, parameter
from nnclip.graph.reading import Reader, option, option_metadata
from nnclip.graph.transformer import BlockConfig, scaled_init, transformer
from nnclip.nnabla import F, NormalInitializer, nn
from nnclip.text import Tokenizer
from nnclip.text.stored import own_tokenizer

TABLE = "token_embedding/W"


@dataclass(frozen=True)
class TextConfig:
    """CLIP's text transformer, read at the end-of-text token.

    Attributes:
        vocabulary: rows of the token table.
        context: tokens of the longest text.
        blocks: the transformer.
        causal: whether no token sees a later one. Where each sees all, it sees the padding too,
            and every text has all `context` tokens.
    """

    vocabulary: int
    context: int  # tokens
    blocks: BlockConfig
    causal: bool = option("text_causal", True, (True, False))

    side: ClassVar[Literal["text"]] = "text"
    pad: ClassVar[int] = 0
    beside: ClassVar[Beside] = {"end": FirstHighest()}
    cleaning: ClassVar[str] = (
        "ftfy, HTML entities read twice, runs of white space made one blank, lower case"
    )

    @property
    def trims(self) -> str | None:
        """What follows the end of a text is seen by nothing, if no token sees a later one."""
        return "end" if self.causal else None

    @property
    def kind(self) -> str:
        """See `TextTower`."""
        return "causal text transformer" if self.causal else "text transformer without a mask"

    @classmethod
    def read(cls, reader: Reader) -> "tuple[TextConfig, int] | None":
        """The tower of these tensors; None if there is no table of tokens at the top."""
        if not any(map(reader.has, (TABLE, "transformer/", "text_projection"))):
            return None
        config = cls(
            vocabulary=reader.shape(TABLE, 2)[0],
            context=reader.shape("positional_embedding", 2)[0],
            # Joined of two models, the sides may differ; elsewhere they are told together.
            blocks=reader.blocks(
                "",
                "text_heads",
                ("text_activation", reader.metadata.get("activation", "quick_gelu")),
                ("text_layer_norm_eps", reader.metadata.get("layer_norm_eps", 1e-5)),
            ),
            **reader.options(cls),
        )
        return config, reader.shape("text_projection", 2)[1]

    def metadata(self) -> dict[str, Any]:
        """What a file must say for `read` to find this tower again."""
        return {
            "text_activation": self.blocks.activation,
            "text_heads": self.blocks.heads,
            "text_layer_norm_eps": self.blocks.eps,
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
        return text_tower(inputs["ids"], inputs["end"], self, width, hidden)

    def tokenizer(self, metadata: Mapping[str, Any], path: str | Path) -> Tokenizer:
        """The vocabulary that the file carries, else OpenAI's; it must fill the token table."""
        return own_tokenizer(metadata.get("tokenizer"), self.vocabulary, path, TABLE)


def text_tower(
    ids_NL: nn.Variable,
    end_NL: nn.Variable,
    config: TextConfig,
    embed: int,
    hidden: list[nn.Variable] | None = None,
) -> nn.Variable:
    """Features of texts.

    Args:
        ids_NL: token ids; L is the context, or less where the tower is causal: then cutting tokens
            after the end-of-text token changes nothing, since no token sees a later one.
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
    end_N1L = F.reshape(end_NL, (n, 1, length))
    mask = last_mask = None
    if config.causal:
        mask_1LL = causal_mask(length)
        last_mask_1NL = F.batch_matmul(F.reshape(end_NL, (1, n, length)), mask_1LL)
        mask = F.reshape(mask_1LL, (1, 1, length, length))
        last_mask = F.reshape(last_mask_1NL, (n, 1, 1, length))
    x_N1D = transformer(
        x_NLD,
        blocks,
        init=scaled_init(blocks),
        mask=mask,
        last_rows=lambda x: F.batch_matmul(end_N1L, x),
        last_mask=last_mask,
        hidden=hidden,
    )
    x_1ND = F.reshape(layer_norm(x_N1D, "ln_final", blocks.eps), (1, n, width))
    return F.reshape(F.batch_matmul(x_1ND, F.reshape(proj_DE, (1, width, embed))), (n, embed))
