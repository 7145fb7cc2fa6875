"""Features of a model: what a tower gives, through its head where it has one.

This is the only place that knows every kind of tower.

Axes: N batch, R resolution, L tokens, S layers of a head, E embedding.
"""

from collections.abc import Mapping

from nnclip.graph.bert import BertConfig, bert_tower
from nnclip.graph.config import (
    AnyTextConfig,
    ClipConfig,
    ClipResNetConfig,
    ImageConfig,
    ResNetConfig,
)
from nnclip.graph.heads import IMAGE_HEAD, TEXT_HEAD, head
from nnclip.graph.resnet import clip_resnet
from nnclip.graph.text import text_tower
from nnclip.graph.torch_resnet import torch_resnet
from nnclip.graph.vit import image_tower
from nnclip.nnabla import nn


def image_features(
    images_N3RR: nn.Variable,
    config: ClipConfig,
    hidden: list[nn.Variable] | None = None,
    trained_statistics: bool = False,
) -> nn.Variable:
    """Features of pictures (N, E), not normalised.

    Args:
        images_N3RR: float, normalised with the configuration's mean and std.
        config: the model.
        hidden: where given, the output of each block is appended to it.
        trained_statistics: let batch normalisations use the statistics of the batch and move their
            running ones, as in training from scratch; otherwise these are used and stay.
    """
    features = image_side(images_N3RR, config.image, config.image_width, hidden, trained_statistics)
    if config.image_head is None:
        return features
    return head(features, config.image_head, IMAGE_HEAD)


def image_side(
    images_N3RR: nn.Variable,
    config: ImageConfig,
    width: int,
    hidden: list[nn.Variable] | None = None,
    trained_statistics: bool = False,
) -> nn.Variable:
    """Features (N, width) of an image tower of any kind, before its head; see `image_features`."""
    if isinstance(config, ClipResNetConfig):
        return clip_resnet(images_N3RR, config, width, hidden, trained_statistics)
    if isinstance(config, ResNetConfig):
        return torch_resnet(images_N3RR, config, hidden, trained_statistics)
    return image_tower(images_N3RR, config, width, hidden)


def text_features(
    inputs: Mapping[str, nn.Variable],
    config: ClipConfig,
    hidden: list[nn.Variable] | None = None,
) -> nn.Variable:
    """Features of texts (N, E), not normalised.

    Args:
        inputs: ids (N, L) and what the tower reads beside them, see `graph.beside`.
        config: the model.
        hidden: where given, the output of each block is appended to it.
    """
    features = text_side(inputs, config.text, config.text_width, hidden)
    return features if config.text_head is None else head(features, config.text_head, TEXT_HEAD)


def text_side(
    inputs: Mapping[str, nn.Variable],
    config: AnyTextConfig,
    width: int,
    hidden: list[nn.Variable] | None = None,
) -> nn.Variable:
    """Features (N, width) of a text tower of any kind, before its head; see `text_features`."""
    if isinstance(config, BertConfig):
        return bert_tower(inputs, config, hidden)
    return text_tower(inputs["ids"], inputs["end"], config, width, hidden)
