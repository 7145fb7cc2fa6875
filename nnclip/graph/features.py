"""Features of a model: what a tower gives, through its head where it has one.

Axes: N batch, R resolution, L tokens, S layers of a head, E embedding.
"""

from collections.abc import Mapping

from nnclip.graph.config import ClipConfig
from nnclip.graph.heads import IMAGE_HEAD, TEXT_HEAD, head
from nnclip.nnabla import nn


def image_features(
    images_N3RR: nn.Variable,
    config: ClipConfig,
    hidden: list[nn.Variable] | None = None,
    trained_statistics: bool = False,
) -> nn.Variable:
    """Features of images (N, E), not normalised.

    Args:
        images_N3RR: float, normalised with the configuration's mean and std.
        config: the model.
        hidden: where given, the output of each block is appended to it.
        trained_statistics: let batch normalisations use the statistics of the batch and move their
            running ones, as in training from scratch; otherwise these are used and stay.
    """
    features = config.image.build(images_N3RR, config.image_width, hidden, trained_statistics)
    if config.image_head is None:
        return features
    return head(features, config.image_head, IMAGE_HEAD)


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
    features = config.text.build(inputs, config.text_width, hidden)
    return features if config.text_head is None else head(features, config.text_head, TEXT_HEAD)
