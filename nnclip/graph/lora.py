"""Low-rank adapters (LoRA) beside the matrices of affine layers.

A matrix `NAME` of a scope, (O, D) or G of them stacked as (G * O, D), is adapted where the scope
also holds `NAME_lora_A`, `NAME_lora_B` and `NAME_lora_scale`. The layer then gives
x @ W.T + scale * (x @ A.T) @ B.T: neither is W changed, nor a gradient of its size computed.

Axes: O output width, D width, r rank, G stacked matrices.

Source: LoRA, arXiv:2106.09685, section 4.1.
"""

from collections.abc import Iterable

from nnclip.nnabla import F, get_parameter, nn

A, B, SCALE = "_lora_A", "_lora_B", "_lora_scale"  # (G, r, D), (G, O, r), ()
ENDS = (A, B, SCALE)


def is_adapter(name: str) -> bool:
    """Whether a parameter is part of an adapter, by its name."""
    return name.endswith(ENDS)


def adapters_of(names: Iterable[str]) -> list[str]:
    """The matrices that these names' adapters belong to."""
    return [name.removesuffix(A) for name in names if name.endswith(A)]


def low_rank(name: str) -> list[tuple[nn.Variable, nn.Variable, nn.Variable]] | None:
    """The adapters of the current scope's matrix `name`: G times A (r, D), B (O, r) and the scale.

    None where it has none.
    """
    a_GrD = get_parameter(name + A)
    if a_GrD is None:
        return None
    b_GOr, scale = get_parameter(name + B), get_parameter(name + SCALE)
    if len(a_GrD.shape) == 2:
        return [(a_GrD, b_GOr, scale)]
    return [(a, b, scale) for a, b in zip(F.split(a_GrD), F.split(b_GOr), strict=True)]
