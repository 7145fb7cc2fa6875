"""Features of a model: what a tower gives, through its head where it has one.

This is the only place that knows every kind of tower.

Axes: N batch, R resolution, L tokens, S layers of a head, E embedding.
"""

import nnabla as nn

from nnclip.graph.config import ClipConfig
from nnclip.graph.heads import IMAGE_HEAD, TEXT_HEAD, head
from nnclip.graph.text import text_tower
from nnclip.graph.vit import image_tower


def image_features(
    images_N3RR: nn.Variable, config: ClipConfig, hidden: list[nn.Variable] | None = None
) -> nn.Variable:
    """Features of pictures (N, E), not normalised.

    Args:
        images_N3RR: float, normalised with the configuration's mean and std.
        config: the model.
        hidden: where given, the output of each block is appended to it.
    """
    features = image_tower(images_N3RR, config.image, config.image_width, hidden)
    if config.image_head is None:
        return features
    return head(features, config.image_head, IMAGE_HEAD)


def text_features(
    ids_NL: nn.Variable,
    end_NL: nn.Variable,
    config: ClipConfig,
    hidden: list[nn.Variable] | None = None,
) -> nn.Variable:
    """Features of texts (N, E), not normalised.

    Args:
        ids_NL: token ids.
        end_NL: 1 at each text's end-of-text token, else 0.
        config: the model.
        hidden: where given, the output of each block is appended to it.
    """
    features = text_tower(ids_NL, end_NL, config.text, config.text_width, hidden)
    return features if config.text_head is None else head(features, config.text_head, TEXT_HEAD)
