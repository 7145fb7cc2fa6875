"""The stack of transformer blocks that both towers share.

Axes: N batch, L tokens, M tokens that are asked for, D width, F width inside the MLP, C pairs of
a head's channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from nnclip.errors import CheckpointError
from nnclip.graph.layers import ACTIVATIONS, Attend, attention, layer_norm, linear
from nnclip.graph.reading import Reader, option
from nnclip.graph.rope import Turns
from nnclip.nnabla import BaseInitializer, NormalInitializer, nn

Rows = Callable[[nn.Variable], nn.Variable]


@dataclass(frozen=True)
class BlockConfig:
    """A stack of transformer blocks; what another family changes has CLIP's value as its default.

    Attributes:
        width: of a token.
        layers: number of blocks.
        heads: of each attention.
        hidden: width of the MLP inside.
        activation: a key of layers.ACTIVATIONS.
        eps: of every layer normalisation.
        post_norm: whether each of the two norms comes behind its branch, before it is added.
        key_bias: whether keys have a bias. Without, the third of in_proj_b that would be theirs
            is not read and keeps its zeros.
        attention_norm: whether there is a norm before the attention's last product.
        gated: whether the MLP multiplies a second product with the activated first one.
        mlp_norm: whether the MLP begins with a norm of its own, after the block's.
        hidden_norm: whether there is a norm before the MLP's last product.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    activation: str = "quick_gelu"
    eps: float = 1e-5
    post_norm: bool = option("post_norm", False, (True, False))
    key_bias: bool = option("key_bias", True, (True, False))
    attention_norm: bool = False
    gated: bool = False
    mlp_norm: bool = False
    hidden_norm: bool = False

    @classmethod
    def read(
        cls,
        reader: Reader,
        prefix: str,
        side: str,
        activation: tuple[str, str] = ("activation", "quick_gelu"),
        eps: tuple[str, float] = ("layer_norm_eps", 1e-5),
    ) -> "BlockConfig":
        """The configuration of the blocks under `prefix`.

        Args:
            reader: the file.
            prefix: what stands before `transformer/resblocks/`.
            side: what the keys of the metadata begin with, as "image" or "text"; heads of 64 where
                it does not tell their number.
            activation: the key of the activation, and which it is where that is not told.
            eps: the same for the epsilon.
        """
        blocks = f"{prefix}transformer/resblocks/"
        hidden, width = reader.shape(f"{blocks}0/mlp/c_fc/W", 2)
        count = reader.integer(f"{side}_heads", max(width // 64, 1), 1)
        if width % count:
            raise CheckpointError(
                f"metadata {side}_heads: found {count}, expected a divisor of the width {width}"
            )
        return cls(
            width=width,
            # a gap in the numbers shows as tensors missing and left over
            layers=reader.numbers_in(blocks),
            heads=count,
            hidden=hidden,
            activation=reader.choice(*activation, ACTIVATIONS),
            eps=reader.number(*eps, 0),
            attention_norm=reader.has(f"{blocks}0/attn/ln/"),
            gated=reader.has(f"{blocks}0/mlp/c_gate/"),
            mlp_norm=reader.has(f"{blocks}0/mlp/ln/"),
            hidden_norm=reader.has(f"{blocks}0/mlp/ln_hidden/"),
            **reader.options(cls, f"{side}_"),
        )

    def describe(self) -> str:
        """The sizes in one line."""
        gated = "gated " if self.gated else ""
        return (
            f"{self.layers} blocks of {self.width}, {self.heads} heads, {gated}MLP {self.hidden}, "
            f"{self.activation}, eps {self.eps:g}"
            + (", norms behind the branches" if self.post_norm else "")
        )


class BlockInit(NamedTuple):
    """Initialisers of a block's four matrices; None stands for torch's default."""

    in_proj: BaseInitializer | None = None
    out_proj: BaseInitializer | None = None
    c_fc: BaseInitializer | None = None
    c_proj: BaseInitializer | None = None


def scaled_init(config: BlockConfig) -> BlockInit:
    """The initialisation of OpenAI's text transformer: residual branches shrink with depth."""
    branch = NormalInitializer((config.width * 2 * config.layers) ** -0.5)
    return BlockInit(
        in_proj=NormalInitializer(config.width**-0.5),
        out_proj=branch,
        c_fc=NormalInitializer((2 * config.width) ** -0.5),
        c_proj=branch,
    )


def every_row(x_NLD: nn.Variable) -> nn.Variable:
    """All tokens ask."""
    return x_NLD


def block(
    x_NLD: nn.Variable,
    config: BlockConfig,
    init: BlockInit,
    mask: nn.Variable | None,
    rows: Rows,
    turns_1LC: Turns | None = None,
    attend: Attend | None = None,
    bare: bool = False,
) -> nn.Variable:
    """One block, computed for the tokens that `rows` selects: (N, L, D) -> (N, M, D).

    With `attend` in the place of its attention; if it is `bare`, without shortcut and MLP.
    """

    def norm(x: nn.Variable, scope: str, post: bool) -> nn.Variable:
        return layer_norm(x, scope, config.eps) if post == config.post_norm else x

    y_NLD = norm(x_NLD, "ln_1", False)
    with nn.parameter_scope("attn"):
        y_NMD = attention(
            y_NLD,
            config.heads,
            rows=rows,
            mask=mask,
            init=init[:2],
            key_bias=config.key_bias,
            norm_eps=config.eps if config.attention_norm else None,
            turns_1LC=turns_1LC,
            attend=attend,
        )
    y_NMD = norm(y_NMD, "ln_1", True)
    if bare:
        return y_NMD
    x_NMD = rows(x_NLD) + y_NMD
    y_NMD = norm(x_NMD, "ln_2", False)
    with nn.parameter_scope("mlp"):
        y_NMD = _mlp(y_NMD, config, init)
    return x_NMD + norm(y_NMD, "ln_2", True)


def _mlp(x_NMD: nn.Variable, config: BlockConfig, init: BlockInit) -> nn.Variable:
    if config.mlp_norm:
        x_NMD = layer_norm(x_NMD, "ln", config.eps)
    activate = ACTIVATIONS[config.activation]
    if config.gated:
        gate_NMF = activate(linear(x_NMD, config.hidden, "c_gate", init.c_fc))
        y_NMF = gate_NMF * linear(x_NMD, config.hidden, "c_fc", init.c_fc)
    else:
        y_NMF = activate(linear(x_NMD, config.hidden, "c_fc", init.c_fc))
    if config.hidden_norm:
        y_NMF = layer_norm(y_NMF, "ln_hidden", config.eps)
    return linear(y_NMF, config.width, "c_proj", init.c_proj)


def transformer(
    x_NLD: nn.Variable,
    config: BlockConfig,
    *,
    init: BlockInit,
    mask: nn.Variable | None,
    last_rows: Rows,
    last_mask: nn.Variable | None,
    hidden: list[nn.Variable] | None = None,
    turns_1LC: Turns | None = None,
) -> nn.Variable:
    """All blocks; the last one computes only the tokens that are read, which is exact.

    Args:
        x_NLD: embedded tokens.
        config: the stack.
        init: initialisers of the matrices of every block.
        mask: added to the scores of all blocks but the last; broadcastable to (N, H, L, L).
        last_rows: picks the M tokens that are read after the last block.
        last_mask: the rows of `mask` for those tokens.
        hidden: where given, the output of each block is appended to it.
        turns_1LC: by which queries and keys are turned, None where they are not.

    Returns: (N, M, D).
    """
    for i in range(config.layers):
        last = i == config.layers - 1
        with nn.parameter_scope(f"transformer/resblocks/{i}"):
            rows, block_mask = (last_rows, last_mask) if last else (every_row, mask)
            x_NLD = block(x_NLD, config, init, block_mask, rows, turns_1LC)
        if hidden is not None:
            hidden.append(x_NLD)
    return x_NLD
