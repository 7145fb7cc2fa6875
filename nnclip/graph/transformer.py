"""The stack of pre-norm transformer blocks that both towers share.

Axes: N batch, L tokens, M tokens that are asked for, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from nnclip.graph.layers import ACTIVATIONS, attention, layer_norm, linear
from nnclip.nnabla import BaseInitializer, NormalInitializer, nn

Rows = Callable[[nn.Variable], nn.Variable]


@dataclass(frozen=True)
class BlockConfig:
    """A stack of pre-norm transformer blocks."""

    width: int
    layers: int
    heads: int
    hidden: int  # width of the perceptron
    activation: str = "quick_gelu"  # a key of layers.ACTIVATIONS
    eps: float = 1e-5  # of every layer normalisation
    gated: bool = False  # whether the MLP multiplies its units by activated gates, as GeGLU does
    mlp_norm: bool = False  # whether the MLP begins with a norm of its own, after the block's

    def describe(self) -> str:
        """The sizes in one line."""
        gated = "gated " if self.gated else ""
        return (
            f"{self.layers} blocks of {self.width}, {self.heads} heads, {gated}MLP {self.hidden}, "
            f"{self.activation}, eps {self.eps:g}"
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
    x_NLD: nn.Variable, config: BlockConfig, init: BlockInit, mask: nn.Variable | None, rows: Rows
) -> nn.Variable:
    """One block, computed for the tokens that `rows` selects: (N, L, D) -> (N, M, D)."""
    y_NLD = layer_norm(x_NLD, "ln_1", config.eps)
    with nn.parameter_scope("attn"):
        y_NMD = attention(y_NLD, config.heads, rows=rows, mask=mask, init=init[:2])
    x_NMD = rows(x_NLD) + y_NMD
    y_NMD = layer_norm(x_NMD, "ln_2", config.eps)
    with nn.parameter_scope("mlp"):
        return x_NMD + _mlp(y_NMD, config, init)


def _mlp(x_NMD: nn.Variable, config: BlockConfig, init: BlockInit) -> nn.Variable:
    if config.mlp_norm:
        x_NMD = layer_norm(x_NMD, "ln", config.eps)
    activation = ACTIVATIONS[config.activation]
    if config.gated:
        gates = activation(linear(x_NMD, config.hidden, "c_gate", init.c_fc))
        y = gates * linear(x_NMD, config.hidden, "c_fc", init.c_fc)
    else:
        y = activation(linear(x_NMD, config.hidden, "c_fc", init.c_fc))
    return linear(y, config.width, "c_proj", init.c_proj)


def transformer(
    x_NLD: nn.Variable,
    config: BlockConfig,
    *,
    init: BlockInit,
    mask: nn.Variable | None,
    last_rows: Rows,
    last_mask: nn.Variable | None,
    hidden: list[nn.Variable] | None = None,
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

    Returns: (N, M, D).
    """
    for i in range(config.layers):
        last = i == config.layers - 1
        with nn.parameter_scope(f"transformer/resblocks/{i}"):
            rows, block_mask = (last_rows, last_mask) if last else (every_row, mask)
            x_NLD = block(x_NLD, config, init, block_mask, rows)
        if hidden is not None:
            hidden.append(x_NLD)
    return x_NLD
