"""Embeds the same input with a checkpoint's own code in torch and with its .h5 in NNabla.

Axes: N batch, R resolution, L tokens, E embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nnclip.convert.answers import inputs_of, noise, padded_ids, relative_difference
from nnclip.convert.dialect import Dialect, Source
from nnclip.convert.names import to_foreign, to_published, without
from nnclip.errors import CheckpointError, ConfigError
from nnclip.graph.beside import text_inputs
from nnclip.graph.config import ClipConfig
from nnclip.graph.features import image_features, text_features
from nnclip.graph.parameters import building
from nnclip.graph.towers import Tower
from nnclip.nnabla import nn
from nnclip.weights.model import ModelWeights, load_model
from nnclip.weights.tower import load_tower

PAIRS = 2


@dataclass(frozen=True)
class Comparison:
    """How far an .h5 is from what the checkpoint's own library computes.

    Attributes:
        library: the dialect.
        features: "image" and "text" -> the `relative_difference`.
        by_library: whether the library built the model from the checkpoint alone; otherwise it
            was built as nnclip had read it, and only tensors are compared.
        pixels: values of prepared images, wide and tall, that differ; None where the library was
            told nothing about preparing them.
    """

    library: str
    features: dict[str, float]
    by_library: bool = False
    pixels: int | None = None

    def lines(self) -> list[str]:
        """What was found, for people."""
        told = f"compared  with {self.library}'s code, built as nnclip read the checkpoint"
        if self.by_library and "image" not in self.features:
            told = f"compared  with {self.library}'s code, which built it by itself"
        elif self.by_library:
            told = "compared  no pixels: the checkpoint does not say how images are prepared"
        if self.pixels is not None:
            told = f"verified  {self.pixels} pixels of a wide and a tall image differ"
        return [
            told,
            *(
                f"verified  {tower} features differ by {difference:.1e} of their norm at most"
                for tower, difference in self.features.items()
            ),
        ]

    def check(self, tolerance: float) -> None:
        """CheckpointError if a pixel differs, or features by more than this of their norm."""
        if self.pixels:
            raise CheckpointError(
                f"found {self.pixels} pixels that {self.library}'s own code prepares otherwise, "
                "expected none"
            )
        worst = max(self.features.values())
        if not worst <= tolerance:  # NaN is no agreement either
            raise CheckpointError(
                f"found features that differ from torch's by {worst:.1e} of their norm, expected "
                f"{tolerance:g} at most"
            )


Arrays = dict[str, np.ndarray]  # by side


def compare(source: Source, dialect: Dialect, h5: Path) -> Comparison:
    """Hold `h5` against `source`, through images that are not square.

    Raises:
        ConfigError: torch, or the package with the dialect's model code, is not installed.
        CheckpointError: the dialect's own code has no such model.
    """
    try:
        return _compared(source, dialect, h5)
    except ImportError as error:
        raise ConfigError(
            f"comparing needs torch and {dialect.name}'s own code ({error}): `make setup-dev`, "
            "then try again"
        ) from error


def _compared(source: Source, dialect: Dialect, h5: Path) -> Comparison:
    if dialect.side:
        return _compared_tower(source, dialect, h5)
    built, model = dialect.open(source), load_model(h5)
    images_N3RR, ids_NL = inputs_of(model.config, PAIRS)
    theirs_N3RR, pixels = images_N3RR, None
    if built is not None and built.prepare is not None:
        images_N3RR, theirs_N3RR = _prepared(model.config.image.preprocess, built.prepare)
        pixels = int((images_N3RR != theirs_N3RR).sum())
    found = _features(model, images_N3RR, ids_NL)
    if built is None:
        inputs = {"image": images_N3RR, "text": ids_NL}
        expected = _torch_features(source, dialect, model.config, inputs)
        return Comparison(dialect.name, _relative(found, expected))
    inputs = {"image": theirs_N3RR, "text": ids_NL}
    expected = _told(dialect, built.model, model.config, inputs)
    return Comparison(dialect.name, _relative(found, expected), True, pixels)


def _compared_tower(source: Source, dialect: Dialect, h5: Path) -> Comparison:
    config, inputs, found = _tower_features(h5)
    built, pixels = dialect.open(source), None
    if built is None:
        expected = _torch_features(source, dialect, config, inputs)
        return Comparison(dialect.name, _relative(found, expected))
    if built.prepare is not None:
        ours, theirs = _prepared(config.preprocess, built.prepare)  # type: ignore[union-attr]
        pixels = int((ours != theirs).sum())
    expected = _told(dialect, built.model, config, inputs)
    return Comparison(dialect.name, _relative(found, expected), True, pixels)


Prepare = Callable[[Image.Image], np.ndarray]


def _prepared(ours: Prepare, theirs: Prepare) -> tuple[np.ndarray, np.ndarray]:
    """Drawn images (N, 3, R, R) as both prepare them; CheckpointError if their sizes differ."""
    found, expected = (np.stack([f(image) for image in drawn_images()]) for f in (ours, theirs))
    if found.shape != expected.shape:
        raise CheckpointError(
            f"found prepared images of shape {found.shape[1:]}, expected {expected.shape[1:]}, as "
            "the checkpoint's own code makes them"
        )
    return found, expected


def _relative(found: Arrays, expected: Arrays) -> dict[str, float]:
    return {side: relative_difference(found[side], expected[side]) for side in found}


def drawn_images() -> list[Image.Image]:
    """Noise upon soft spots, wide and tall."""
    random, images = np.random.RandomState(7), []
    for width, height in ((517, 301), (230, 411)):
        spots = Image.fromarray(random.randint(0, 256, (9, 9, 3), np.uint8))
        soft = np.asarray(spots.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
        noisy = soft + random.randint(-40, 40, soft.shape)
        images.append(Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)))
    return images


def _features(model: ModelWeights, images_N3RR: np.ndarray, ids_NL: np.ndarray) -> Arrays:
    """What an .h5 makes of images and texts, computed by NNabla."""
    config = model.config
    images = nn.Variable.from_numpy_array(images_N3RR)
    texts = {
        k: nn.Variable.from_numpy_array(a) for k, a in text_inputs(ids_NL, config.text).items()
    }
    with building(model.scope):
        image_NE = image_features(images, config)
        text_NE = text_features(texts, config)
    nn.forward_all([image_NE, text_NE])
    return {"image": image_NE.d.copy(), "text": text_NE.d.copy()}


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
            array = noise(config.preprocess, PAIRS, np.random.RandomState(0))
            features = config.build(nn.Variable.from_numpy_array(array), tower.width)
    features.forward()
    return config, {tower.side: array}, {tower.side: features.d.copy()}


def _torch_features(
    source: Source, dialect: Dialect, config: ClipConfig | Tower, inputs: Arrays
) -> Arrays:
    """Of the dialect's own code, built as nnclip has read it."""
    import torch

    reference = dialect.build(config)
    own = reference.state_dict()
    whole: Any = config
    towers = (whole,) if dialect.side else (whole.image, whole.text)
    tensors = without(source.tensors, dialect.dropped)
    if not tensors.keys() <= own.keys():  # another layout that this code reads, too
        tensors = without(dialect.folded(source), dialect.dropped)
        published = to_published(tensors, dialect.names.reading(source))
        tensors = to_foreign(published, dialect.names.writing(towers))
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(torch.from_numpy(tensor.read().copy()).reshape(own[name].shape))
    return _told(dialect, reference, config, inputs)


def _told(dialect: Dialect, model: Any, config: ClipConfig | Tower, inputs: Arrays) -> Arrays:
    """Features by the dialect's code, as arrays."""
    import torch

    with torch.no_grad():
        found = dialect.code.features(model, config, inputs)
    return {side: features.numpy() for side, features in found.items()}
