"""torchvision's dialect: the state dictionaries of its ResNet18, 34 and 50, image towers alone.

Source: https://github.com/pytorch/vision, torchvision/models/resnet.py.
"""

from typing import Any

from nnclip.convert import resnets
from nnclip.convert.dialect import Dialect, Settings, Source
from nnclip.errors import CheckpointError
from nnclip.graph.config import ClipConfig, ResNetConfig
from nnclip.graph.towers import Tower

TABLE = resnets.table(("conv1", "bn1"), "")
DROPPED = r"fc\.(weight|bias)|" + resnets.COUNTED  # the classifier is no part of the features


def is_torchvision(source: Source) -> bool:
    """Whether the names are those of a ResNet of torchvision."""
    return {"conv1.weight", "layer1.0.conv1.weight"} <= source.tensors.keys()


def describe(source: Source) -> dict[str, Any]:
    """Nothing: shapes tell the blocks, and a resolution is not in the file."""
    return {}


def settings_of(config: ClipConfig | Tower) -> dict[str, Settings]:
    """No file beside; CheckpointError if this is another tower."""
    if not isinstance(config, ResNetConfig):
        raise CheckpointError(
            f"found a {type(config).__name__}, but torchvision's code knows only its own ResNets"
        )
    return {}


DIALECT = Dialect("torchvision", TABLE, DROPPED, describe, settings_of, side="image")
