"""Embeds the same input with a checkpoint's own code in torch and with its .h5 in NNabla.

Axes: N batch, R resolution, L tokens, E embedding.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnclip.convert.dialect import Dialect, Source
from nnclip.convert.names import without
from nnclip.errors import ConfigError
from nnclip.graph.beside import text_inputs
from nnclip.graph.config import BertConfig, ClipConfig
from nnclip.graph.features import image_features, text_features
from nnclip.graph.parameters import building
from nnclip.graph.towers import TextTower, Tower
from nnclip.nnabla import nn
from nnclip.weights.model import load_model
from nnclip.weights.tower import load_tower

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
    """The `relative_difference` between `source` and its `h5`: "image" and "text" features.

    Raises:
        ConfigError: torch, or the package with the dialect's model code, is not installed.
        CheckpointError: the dialect's own code has no such model.
    """
    config, inputs, found = _features(h5) if dialect.side is None else _tower_features(h5)
    expected = _torch_features(source, dialect, config, inputs)
    return {side: relative_difference(found[side], expected[side]) for side in found}


Arrays = dict[str, np.ndarray]  # by side


def _features(h5: Path) -> tuple[ClipConfig, Arrays, Arrays]:
    """A model's configuration, inputs for it, and its features of them."""
    model = load_model(h5)
    config = model.config
    images_N3RR, ids_NL = inputs_of(config, PAIRS)
    images = nn.Variable.from_numpy_array(images_N3RR)
    texts = {
        k: nn.Variable.from_numpy_array(a) for k, a in text_inputs(ids_NL, config.text).items()
    }
    with building(model.scope):
        image_NE = image_features(images, config)
        text_NE = text_features(texts, config)
    nn.forward_all([image_NE, text_NE])
    inputs = {"image": images_N3RR, "text": ids_NL}
    return config, inputs, {"image": image_NE.d.copy(), "text": text_NE.d.copy()}


def _tower_features(h5: Path) -> tuple[Tower, Arrays, Arrays]:
    """The same of a tower alone."""
    tower = load_tower(h5)
    config = tower.config
    with building(tower.scope):
        if config.side == "text":
            array = padded_ids(config, PAIRS)
            texts = text_inputs(array, config).items()
            variables = {k: nn.Variable.from_numpy_array(a) for k, a in texts}
            features = config.build(variables, tower.width)
        else:
            shape = (PAIRS, 3, config.resolution, config.resolution)
            array = np.random.RandomState(0).randn(*shape).astype(np.float32)
            features = config.build(nn.Variable.from_numpy_array(array), tower.width)
    features.forward()
    return config, {tower.side: array}, {tower.side: features.d.copy()}


def padded_ids(config: TextTower, texts: int, seed: int = 0) -> np.ndarray:
    """Fixed token ids (N, L) int64 of texts of different lengths; the first fills the context."""
    ids_NL = np.random.RandomState(seed).randint(0, config.vocabulary, (texts, config.context))
    ids_NL[ids_NL == config.pad] = (config.pad + 1) % config.vocabulary
    for row, length in enumerate(np.linspace(config.context, 2, texts).astype(int)):
        ids_NL[row, length:] = config.pad
    return ids_NL


def _torch_features(
    source: Source, dialect: Dialect, config: ClipConfig | Tower, inputs: Arrays
) -> Arrays:
    try:
        import torch

        from nnclip.convert.reference import build, encode, encode_pooled
    except ImportError as error:
        raise ConfigError(
            f"comparing needs torch ({error}): `make setup-dev`, then try again"
        ) from error
    reference = build(dialect, config)
    own = reference.state_dict()
    with torch.no_grad():
        for name, tensor in without(source.tensors, dialect.dropped).items():
            own[name].copy_(torch.from_numpy(tensor.read().copy()).reshape(own[name].shape))
        if dialect.side is not None:
            array = inputs[dialect.side]
            if isinstance(config, BertConfig):
                return {"text": encode_pooled(reference, config, array)[1].numpy()}
            return {dialect.side: reference(torch.from_numpy(array)).numpy()}
        image_NE, text_NE = encode(reference, inputs["image"], inputs["text"])
    return {"image": image_NE.numpy(), "text": text_NE.numpy()}
