"""A projection head: what is trained on top of a frozen tower.

    p = x @ proj.T
    as often as there are layers:  p = norm(p + dropout(gelu(p) @ layer.T))

One normalisation serves all layers. With three layers this is the head of multilingual CLIP
("residual"), with one that of frozen encoders with trained heads ("simple"), with none a linear
map. Its tensors, below `visual_head` or `text_head`: proj/W (E, I), layers/S/W (E, E), and, where
there are layers, norm/W and norm/b (E,).

Axes: N batch, I width of what the tower gives, S layers, E width of what the head gives.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnclip.errors import CheckpointError
from nnclip.graph.layers import affine, gelu, layer_norm, parameter
from nnclip.nnabla import UniformInitializer, nn

IMAGE_HEAD, TEXT_HEAD = "visual_head", "text_head"  # scopes
FORMS = {"residual": 3, "simple": 1, "linear": 0}  # name -> layers
EPS = 1e-5  # torch's default


@dataclass(frozen=True)
class HeadConfig:
    """A projection head.

    Attributes:
        width_in: of the tower's features.
        width_out: of the head's.
        layers: that follow the projection.
        dropout: share of a layer's outputs that training drops.
    """

    width_in: int
    width_out: int
    layers: int = FORMS["residual"]
    dropout: float = 0.5


def head(
    x_NI: nn.Variable, config: HeadConfig, scope: str, keep_NSE: nn.Variable | None = None
) -> nn.Variable:
    """Features of a tower -> features of the model, (N, E), not normalised.

    Args:
        x_NI: what the tower gives.
        config: the head.
        scope: `visual_head` or `text_head`.
        keep_NSE: in training, what each layer's outputs are multiplied by, see `dropout_masks`;
            None to drop nothing.

    Source: the Projection modules of multilingual CLIP and of frozen encoders with trained heads.
    """
    with nn.parameter_scope(scope):
        p_NE = _product(x_NI, config.width_out, "proj")
        for s in range(config.layers):
            y_NE = _product(gelu(p_NE), config.width_out, f"layers/{s}")
            if keep_NSE is not None:
                y_NE = y_NE * keep_NSE[:, s, :]
            p_NE = layer_norm(p_NE + y_NE, "norm", EPS)
        return p_NE


def _product(x_ND: nn.Variable, out: int, scope: str) -> nn.Variable:
    """A linear layer without bias, initialised as torch does."""
    bound = 1 / math.sqrt(x_ND.shape[-1])
    with nn.parameter_scope(scope):
        return affine(
            x_ND, parameter("W", (out, x_ND.shape[-1]), UniformInitializer((-bound, bound)))
        )


def dropout_masks(key: tuple[int, int], start: int, rows: int, config: HeadConfig) -> np.ndarray:
    """What `head` multiplies by in training: 0 or 1 / (1 - dropout), (N, S, E) float32.

    Dropout enters as an input, so that it is the same in every engine, in both passes of a step
    that is cut into stages, and in a run that was interrupted. It is cut out of one endless stream:
    row n of it belongs to draw n of a run, whoever computes that.

    Args:
        key: which stream.
        start: its first row.
        rows: how many.
        config: the head.
    """
    count = config.layers * config.width_out
    blocks = -(-count // 16)  # Philox counts blocks of 256 bits, here 16 numbers
    stream = np.random.Philox(key=np.array(key, np.uint64)).advance(start * blocks)
    numbers = stream.random_raw(rows * blocks * 4).view(np.uint16).reshape(rows, -1)[:, :count]
    kept = 1 - config.dropout
    masks = (numbers < kept * 65536) * np.float32(1 / kept)
    return masks.reshape(rows, config.layers, config.width_out)


def head_from_shapes(
    shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, Any], scope: str
) -> HeadConfig | None:
    """The head whose tensors stand below `scope`; None if there are none.

    Raises:
        CheckpointError: it has no projection, or its metadata is impossible.
    """
    names = [name for name in shapes if name.startswith(scope + "/")]
    if not names:
        return None
    found = shapes.get(f"{scope}/proj/W", ())
    if len(found) != 2 or 0 in found:
        raise CheckpointError(
            f"tensor {scope}/proj/W: found shape {tuple(found) or 'none'}, expected one with 2 axes"
        )
    dropout = metadata.get(f"{scope}_dropout", 0.5)
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise CheckpointError(
            f"metadata {scope}_dropout: found {dropout!r}, expected a number from 0 to below 1"
        )
    layers = sum(name.startswith(f"{scope}/layers/") for name in names)
    return HeadConfig(found[1], found[0], layers, float(dropout))


def head_metadata(config: HeadConfig | None, scope: str) -> dict[str, Any]:
    """What a file must say beside the shapes for `head_from_shapes` to find `config` again."""
    return {} if config is None else {f"{scope}_dropout": config.dropout}
