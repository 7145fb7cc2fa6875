"""A stand-in for a model whose every answer can be worked out by hand.

It knows six colours. An image's embedding says how near its mean is to each; a text's embedding
says which of them it names. Nothing is mocked: evaluators know callables only.
"""

import math

import numpy as np
import pytest
from PIL import Image

from nnclip.evaluate.tasks import Subject
from nnclip.graph.losses import SOFTMAX, Scorer

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 60),
    "blue": (30, 60, 220),
    "yellow": (240, 220, 40),
    "white": (250, 250, 250),
    "black": (10, 10, 10),
}
PALETTE = np.array(list(COLOURS.values()), np.float32)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def embed_images(pictures):
    means = np.stack([np.asarray(p.convert("RGB"), np.float32).mean((0, 1)) for p in pictures])
    distances = np.linalg.norm(means[:, None] - PALETTE[None], axis=-1)
    return unit(np.exp(-distances / 60) + 1e-6)


def embed_texts(texts):
    rows = np.array([[float(name in text) for name in COLOURS] for text in texts], np.float32)
    return unit(rows + 0.01)


@pytest.fixture
def subject():
    return Subject(
        embed_images,
        embed_texts,
        scorer=Scorer(SOFTMAX, {"logit_scale": math.log(5)}),
        model="colours",
        pretrained="none",
    )


@pytest.fixture
def colour_folder(tmp_path):
    """An ImageFolder: four images of each of four colours, in slightly different shades."""
    root = tmp_path / "colours"
    for name in ("blue", "green", "red", "yellow"):
        folder = root / name
        folder.mkdir(parents=True)
        for shade in range(4):
            colour = tuple(min(255, part + 4 * shade) for part in COLOURS[name])
            Image.new("RGB", (24, 20), colour).save(folder / f"{shade}.png")
    return root
