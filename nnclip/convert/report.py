"""What a conversion tells: the sizes of what was converted, a line for each tower."""

from collections import Counter
from collections.abc import Sequence

from nnclip.graph.bert import POOLINGS
from nnclip.graph.config import BertConfig, ClipConfig, ClipResNetConfig, ResNetConfig
from nnclip.graph.parameters import TowerConfig

SHOWN = 3  # names with the same last word that are shown in full


def described(side: str | None, config: ClipConfig | TowerConfig) -> list[tuple[str, str]]:
    """What was converted, as pairs of side and description: both towers, or the one of `side`."""
    if isinstance(config, ClipConfig):
        return [("image", _tower(config.image)), ("text", _tower(config.text))]
    assert side is not None
    return [(side, _tower(config))]


def _tower(config: TowerConfig) -> str:
    if isinstance(config, ClipResNetConfig):
        return (
            f"{_stages(config.layers)}, {config.width} channels after the stem, {config.heads} "
            f"heads, {config.resolution} pixels"
        )
    if isinstance(config, ResNetConfig):
        return f"{_stages(config.layers)}, {config.features} features, {config.resolution} pixels"
    blocks = config.blocks
    sizes = (
        f"{blocks.layers} blocks of {blocks.width}, {blocks.heads} heads, perceptron "
        f"{blocks.hidden}, {blocks.activation}, eps {blocks.eps:g}"
    )
    if isinstance(config, BertConfig):
        sizes += (
            f"; {config.features} features of {POOLINGS[config.pooling]}, texts of at most "
            f"{config.context} tokens"
        )
    return sizes


def _stages(layers: tuple[int, ...]) -> str:
    return f"stages of {', '.join(map(str, layers))} residual blocks"


def shortened(names: Sequence[str]) -> str:
    """The names, those with the same last word counted where there are many."""
    counts = Counter(name.rpartition(".")[2] for name in names)
    words = ((name, name.rpartition(".")[2]) for name in names)
    shown = (f"{counts[w]} x {w}" if counts[w] > SHOWN else name for name, w in words)
    return ", ".join(dict.fromkeys(shown))
