"""The text tower of NLLB and M2M100: the encoder of a translation model, read at its first token.

A pre-norm transformer in which every token sees every other but the padding; the first token is
the language code. Positions are sines, stored in no file. The tensors stand below `nllb`:
token_embedding/W (V, D), transformer/resblocks/i as in CLIP's towers, ln_final, and projection/W
(E, D).

Axes: N batch, L tokens, D width, E width of the features.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from nnclip.graph.derived import Beside, NotPadding, PositionsWithoutPadding
from nnclip.graph.layers import MASKED, affine, layer_norm, parameter
from nnclip.graph.reading import Reader, option, option_metadata
from nnclip.graph.transformer import BlockConfig, scaled_init, transformer
from nnclip.nnabla import F, NormalInitializer, nn
from nnclip.text import ForeignTokenizer
from nnclip.text.around import CLEANINGS, Around
from nnclip.text.stored import foreign_tokenizer

SCOPE = "nllb"
TABLE = f"{SCOPE}/token_embedding/W"
CONTEXT = 77  # tokens, where nothing says otherwise: open_clip's


@dataclass(frozen=True)
class NllbConfig:
    """The encoder of a translation model.

    Attributes:
        vocabulary: rows of the token table.
        context: tokens of the longest text, language code and end included.
        blocks: the transformer.
        pad: the id of padding, which no token sees.
        clean: what is done to a text before its tokenizer.json, a key of CLEANINGS.
    """

    vocabulary: int
    context: int
    blocks: BlockConfig
    pad: int = option("text_pad", 1, ())
    clean: str = option("text_clean", "whitespace", tuple(CLEANINGS))

    side: ClassVar[Literal["text"]] = "text"
    trims: ClassVar[str] = "mask"  # no token sees padding
    tokens: ClassVar[str] = "json"
    zeroed: ClassVar[int] = 0
    kind: ClassVar[str] = "NLLB encoder"

    @property
    def cleaning(self) -> str:
        """See `TextTower`."""
        return CLEANINGS[self.clean]

    @property
    def beside(self) -> Beside:
        """The mask of padding, and the positions, which are counted without padding."""
        first = self.pad + 1
        return {"mask": NotPadding(self.pad), "positions": PositionsWithoutPadding(self.pad, first)}

    @classmethod
    def read(cls, reader: Reader) -> "tuple[NllbConfig, int] | None":
        """The tower whose tensors stand below `nllb`; None if there are none."""
        if not reader.has(f"{SCOPE}/"):
            return None
        config = cls(
            vocabulary=reader.shape(TABLE, 2)[0],
            context=int(reader.number("text_context", CONTEXT, 1)),
            blocks=BlockConfig.read(
                reader,
                f"{SCOPE}/",
                "text",
                ("text_activation", "relu"),
                ("text_layer_norm_eps", 1e-5),
            ),
            **reader.options(cls),
        )
        return config, reader.shape(f"{SCOPE}/projection/W", 2)[0]

    def metadata(self) -> dict[str, Any]:
        """What a file must say for `read` to find this tower again."""
        return {
            "text_activation": self.blocks.activation,
            "text_heads": self.blocks.heads,
            "text_layer_norm_eps": self.blocks.eps,
            "text_context": self.context,
            "text_tokenizer": self.tokens,
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
        return nllb_tower(inputs, self, width, hidden)

    def tokenizer(self, metadata: Mapping[str, Any], path: str | Path) -> ForeignTokenizer:
        """The encoder's own, which its file must carry."""
        stored, around = metadata.get("tokenizer"), Around(self.clean)
        return foreign_tokenizer(stored, self.pad, self.vocabulary, path, TABLE, around)


def sines(rows: int, width: int) -> np.ndarray:
    """Positions (rows, D) float32: sines of ever longer waves, then their cosines.

    Source: tensor2tensor's `get_timing_signal_1d`, as fairseq has it.
    """
    half = width // 2
    waves = np.exp(np.arange(half, dtype=np.float32) * np.float32(-math.log(10000) / (half - 1)))
    angles = np.arange(rows, dtype=np.float32)[:, None] * waves
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def nllb_tower(
    inputs: Mapping[str, nn.Variable],
    config: NllbConfig,
    embed: int,
    hidden: list[nn.Variable] | None = None,
) -> nn.Variable:
    """Features of texts.

    Args:
        inputs: ids (N, L), L at most the context, and what `NllbConfig.beside` makes of them.
        config: the tower.
        embed: width of the features.
        hidden: where given, the output of each block is appended to it: (N, L, D), of the last
            block only the first token (N, 1, D).

    Returns: features_NE, not normalised.

    Source: NLLB Team, No Language Left Behind (2022); transformers' M2M100Encoder.
    """
    blocks, mask_NL = config.blocks, inputs["mask"]
    n, length = mask_NL.shape
    init = scaled_init(blocks)
    with nn.parameter_scope(SCOPE):
        with nn.parameter_scope("token_embedding"):
            shape_VD = (config.vocabulary, blocks.width)
            table_VD = parameter("W", shape_VD, NormalInitializer(blocks.width**-0.5))
        # the padding's own row comes first, and nothing reads it
        positions_PD = sines(config.pad + 1 + config.context, blocks.width)
        added_NLD = F.embed(inputs["positions"], nn.Variable.from_numpy_array(positions_PD))
        x_NLD = F.embed(inputs["ids"], table_VD) * blocks.width**0.5 + added_NLD
        hidden_from = F.reshape((mask_NL - 1.0) * -MASKED, (n, 1, 1, length))
        x_N1D = transformer(
            x_NLD,
            blocks,
            init=init,
            mask=hidden_from,
            last_rows=lambda x_NLD: x_NLD[:, :1, :],
            last_mask=hidden_from,
            hidden=hidden,
        )
        x_ND = F.reshape(layer_norm(x_N1D, "ln_final", blocks.eps), (n, blocks.width))
        with nn.parameter_scope("projection"):
            shape_ED = (embed, blocks.width)
            return affine(x_ND, parameter("W", shape_ED, NormalInitializer(blocks.width**-0.5)))
