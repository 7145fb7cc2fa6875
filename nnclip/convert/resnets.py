"""Names of residual networks: torch's and the published ones differ in spelling alone.

Every tensor is named here in full: a batch normalisation has four, and `bn1` is a name like any
other, not a bias `b` and a layer `n1`.
"""

from collections.abc import Iterable

from nnclip.convert.names import Rule, Table, same

SPELLED = {
    "W": "weight",
    "b": "bias",
    "running_mean": "running_mean",
    "running_var": "running_var",
}
BLOCK = ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "downsample/0", "downsample/1")
NORMS = frozenset(("bn1", "bn2", "bn3", "downsample/1"))
COUNTED = r"(.*\.)?num_batches_tracked"  # batches seen so far, which nothing is computed from


def table(stem: Iterable[str], foreign: str) -> dict[str, Rule]:
    """The rules of a tower of four stages, published below `visual/`.

    Args:
        stem: its layers before the stages: convolutions, and normalisations (those in NORMS).
        foreign: what the dialect puts before the names.
    """
    blocks = (f"layer{i}/{{}}/{layer}" for i in (1, 2, 3, 4) for layer in BLOCK)
    return {
        f"visual/{layer}/{ours}": same(foreign + layer.replace("/", ".") + "." + SPELLED[ours])
        for layer in (*stem, *blocks)
        for ours in _tensors(layer)
    }


def affine(published: str, foreign: str) -> Table:
    """The rules of a linear layer."""
    return {f"{published}/{ours}": same(f"{foreign}.{SPELLED[ours]}") for ours in ("W", "b")}


def _tensors(layer: str) -> tuple[str, ...]:
    is_norm = any(layer == norm or layer.endswith("/" + norm) for norm in NORMS)
    return tuple(SPELLED) if is_norm else ("W",)
