"""Learning rates that differ: of the two towers, and of the layers of each.

Source: the rate of a layer is that of the next one times a factor as in BEiT, arXiv:2106.08254,
appendix: the output has the whole rate, the last block one factor less, the embedding the least.
"""

from collections.abc import Callable, Mapping

from nnclip.errors import ConfigError
from nnclip.graph.beside import empty_inputs
from nnclip.graph.config import ClipConfig
from nnclip.graph.features import image_features, text_features
from nnclip.graph.parameters import Scope, building, flatten, scope_of
from nnclip.nnabla import nn
from nnclip.training.config import TrainConfig, flag_of
from nnclip.weights.tower import whole_side_of

Factors = dict[str, float]  # name of a trained parameter -> its rate over --lr


def rate_factors(
    config: TrainConfig, model: ClipConfig, variables: Mapping[str, nn.Variable]
) -> Factors:
    """What the learning rate is multiplied by, for each trained parameter.

    Args:
        config: `lr_image`, `lr_text` and `layer_decay` are read.
        model: the model.
        variables: its parameters.

    Raises:
        ConfigError: a rate for a tower that is frozen, or none to compare it with.
    """
    trained = [name for name, v in variables.items() if v.need_grad]
    factors = dict.fromkeys(trained, 1.0)
    for side, rate in (("image", config.lr_image), ("text", config.lr_text)):
        if rate < 0:
            continue
        names = [name for name in trained if whole_side_of(name) == side]
        if not names:
            raise ConfigError(
                f"{flag_of(f'lr_{side}')}: found no {side} tower that is trained; leave the flag "
                "out, or --freeze"
            )
        if not config.lr:
            raise ConfigError(f"--lr: found 0, expected more beside {flag_of(f'lr_{side}')}")
        factors |= dict.fromkeys(names, rate / config.lr)
    if config.layer_decay < 1:
        for name, below in layers_below_output(model, scope_of(variables)).items():
            if name in factors:
                factors[name] *= config.layer_decay**below
    return factors


def layers_below_output(model: ClipConfig, scope: Scope) -> dict[str, int]:
    """Name -> layers between a parameter of a tower and what follows its last block.

    A layer is what a tower says its blocks are: a block of a transformer, a stage of convolutions;
    below the first one lies the embedding. What follows the last one is 0.
    """
    size = model.image.resolution
    with building(scope):
        images = nn.Variable((1, 3, size, size))
        sides: list[Callable[[list[nn.Variable]], nn.Variable]] = [
            lambda hidden: image_features(images, model, hidden),
            lambda hidden: text_features(empty_inputs(model.text, 1), model, hidden),
        ]
        found: dict[str, int] = {}
        for build in sides:
            found |= _below(build, scope)
    return found


def _below(build: Callable[[list[nn.Variable]], nn.Variable], scope: Scope) -> dict[str, int]:
    """The same for one tower: a parameter belongs to the block that first reads it."""
    ends: list[nn.Variable] = []
    features = build(ends)
    names = {variable: name for name, variable in flatten(scope).items()}
    blocks, done, below = set(ends), set[nn.Variable](), dict[str, int]()

    def look(function: nn.function.Function) -> None:
        for variable in function.inputs:
            name = names.get(variable)
            if name is not None and name not in below:
                embeds = not done and not _in_block(name)
                below[name] = len(blocks) - len(done) + embeds
        done.update(v for v in function.outputs if v in blocks)

    features.visit(look)
    return below


def _in_block(name: str) -> bool:
    """Whether the name, of what comes before the end of the first block, is numbered as one is."""
    parts = name.split("/")
    return "stem" not in parts and any(part.isdigit() for part in parts)


def told_rates(config: TrainConfig, factors: Factors) -> dict[str, list[float]]:
    """Side -> its lowest and highest peak rate, for `resolved.yaml`; {} where there is one rate."""
    if set(factors.values()) <= {1.0}:
        return {}
    found: dict[str, list[float]] = {}
    for name, factor in factors.items():
        side = whole_side_of(name) or "loss"
        low, high = found.get(side, (float("inf"), 0.0))
        found[side] = [min(low, config.lr * factor), max(high, config.lr * factor)]
    return found
