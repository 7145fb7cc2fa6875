"""torchvision's dialect: the state dictionaries of its ResNet18, 34 and 50, image towers alone.

Source: https://github.com/pytorch/vision, torchvision/models/resnet.py.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnclip.convert import resnets
from nnclip.convert.dialect import Code, Dialect, Part, Settings, Source, names_of, part_of
from nnclip.graph.config import ResNetConfig
from nnclip.graph.towers import Tower

TABLE = resnets.table(("conv1", "bn1"), "")
DROPPED = r"fc\.(weight|bias)|" + resnets.COUNTED  # the classifier is no part of the features


def _claims(source: Source) -> bool:
    return {"conv1.weight", "layer1.0.conv1.weight"} <= source.tensors.keys()


def describe(source: Source) -> dict[str, Any]:
    """Nothing: shapes tell the blocks, and a resolution is not in the file."""
    return {}


def settings_of(tower: Tower) -> dict[str, Settings]:
    """No file beside; CheckpointError if this is another tower."""
    part_of(IMAGES, tower, "torchvision")
    return {}


def _build(tower: ResNetConfig) -> Any:
    import torch
    from torchvision.models import resnet

    block = resnet.Bottleneck if tower.bottleneck else resnet.BasicBlock
    model = resnet.ResNet(block, list(tower.layers))
    model.fc = torch.nn.Identity()
    return model


def _features(model: Any, tower: ResNetConfig, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    import torch

    return {"image": model(torch.from_numpy(inputs["image"]))}


IMAGES = (Part(ResNetConfig, "ResNet", TABLE),)
DIALECT = Dialect(
    "torchvision",
    names_of("torchvision", IMAGES, ()),
    DROPPED,
    _claims,
    describe,
    settings_of,
    Code("torchvision", "torchvision", _build, _features),
    side="image",
)
