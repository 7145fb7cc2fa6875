"""Embeds the same input with a checkpoint's own code in torch and with its .h5 in NNabla.

Axes: N batch, R resolution, L tokens, E embedding.
"""

from dataclasses import dataclass
from pathlib import Path

import nnabla as nn
import numpy as np

from convert.dialect import Dialect, Source
from convert.names import without
from nnclip.errors import ConfigError
from nnclip.graph.beside import text_inputs
from nnclip.graph.config import ClipConfig
from nnclip.graph.features import image_features, text_features
from nnclip.graph.parameters import building
from nnclip.weights.model import ModelWeights, load_model

PAIRS = 2


@dataclass(frozen=True)
class Answers:
    """All that a model makes of pictures and texts, in float32.

    Attributes:
        hidden: "image" and "text" -> the output of each block, (N, L, D).
        features: "image" and "text" -> (N, E), not normalised.
        logits: (N, N), a row for each picture.
        loss: the contrastive loss.
        gradients: published name -> its gradient.
    """

    hidden: dict[str, list[np.ndarray]]
    features: dict[str, np.ndarray]
    logits: np.ndarray
    loss: float
    gradients: dict[str, np.ndarray]


def inputs_of(config: ClipConfig, pairs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Fixed pictures (N, 3, R, R) float32 and token ids (N, L) int64 that end at varying places."""
    random = np.random.RandomState(seed)
    size, context, last = config.image.resolution, config.text.context, config.text.vocabulary - 1
    images_N3RR = random.randn(pairs, 3, size, size).astype(np.float32)
    ids_NL = random.randint(0, last - 1, (pairs, context))
    for row, end in enumerate(np.linspace(context - 1, context // 4, pairs).astype(int)):
        ids_NL[row, end], ids_NL[row, end + 1 :] = last, 0
    return images_N3RR, ids_NL


def relative_difference(found_NX: np.ndarray, expected_NX: np.ndarray) -> float:
    """The largest difference of any number, relative to the norm of its row (the last axis)."""
    norms_N1 = np.linalg.norm(expected_NX, axis=-1, keepdims=True)
    return float((np.abs(found_NX - expected_NX) / norms_N1).max())


def largest_differences(source: Source, dialect: Dialect, h5: Path) -> dict[str, float]:
    """The `relative_difference` of "image" and "text" features between `source` and its `h5`.

    Raises:
        ConfigError: torch, or the package with the dialect's model code, is not installed.
        CheckpointError: the dialect's own code has no such model.
    """
    model = load_model(h5)
    images_N3RR, ids_NL = inputs_of(model.config, PAIRS)
    found = _features(model, images_N3RR, ids_NL)
    config = model.config
    del model  # so that the weights are in memory once
    expected = _torch_features(source, dialect, config, images_N3RR, ids_NL)
    return {
        tower: relative_difference(a, b)
        for tower, a, b in zip(("image", "text"), found, expected, strict=True)
    }


def _features(
    model: ModelWeights, images_N3RR: np.ndarray, ids_NL: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    config = model.config
    images = nn.Variable.from_numpy_array(images_N3RR)
    texts = {
        k: nn.Variable.from_numpy_array(a) for k, a in text_inputs(ids_NL, config.text).items()
    }
    with building(model.scope):
        image_NE = image_features(images, config)
        text_NE = text_features(texts, config)
    nn.forward_all([image_NE, text_NE])
    return image_NE.d.copy(), text_NE.d.copy()


def _torch_features(
    source: Source,
    dialect: Dialect,
    config: ClipConfig,
    images_N3RR: np.ndarray,
    ids_NL: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    try:
        import torch

        from convert.reference import build, encode
    except ImportError as error:
        raise ConfigError(
            f"comparing needs torch ({error}): `make setup-dev`, then try again"
        ) from error
    reference = build(dialect, config)
    own = reference.state_dict()
    with torch.no_grad():
        for name, tensor in without(source.tensors, dialect.dropped).items():
            own[name].copy_(torch.from_numpy(tensor.read().copy()).reshape(own[name].shape))
        image_NE, text_NE = encode(reference, images_N3RR, ids_NL)
    return image_NE.numpy(), text_NE.numpy()
