"""The models that the benchmarks run: random weights, the same ones for every implementation."""

from __future__ import annotations

import dataclasses

import numpy as np

from nnclip.graph.config import (
    PUBLISHED,
    BertConfig,
    BlockConfig,
    ClipConfig,
    ClipResNetConfig,
    TextConfig,
    VitConfig,
)
from nnclip.graph.parameters import flatten, make_parameters
from nnclip.image import Preprocess
from nnclip.weights.model import ModelWeights

SMALL = ClipConfig(
    embed=256,
    image=VitConfig(Preprocess(64), 8, BlockConfig(256, 6, 4, 1024)),
    text=TextConfig(49408, 32, BlockConfig(256, 4, 4, 1024)),
)
TINY = ClipConfig(
    embed=64,
    image=VitConfig(Preprocess(32), 8, BlockConfig(128, 2, 2, 512)),
    text=TextConfig(1000, 16, BlockConfig(128, 2, 2, 512)),
)

# a pixel's worth of an image tower beside a text encoder that is measured alone
NO_PICTURES = VitConfig(Preprocess(8), 8, BlockConfig(64, 1, 1, 64))
TINY_XLM_R = BertConfig(
    vocabulary=1000,
    positions=34,
    context=16,
    blocks=BlockConfig(64, 2, 2, 256, "gelu", 1e-5),
    types=1,
    pad=1,
    first_position=2,
)
XLM_R = BertConfig(
    vocabulary=250_002,
    positions=514,
    context=64,
    blocks=BlockConfig(768, 12, 12, 3072, "gelu", 1e-5),
    types=1,
    pad=1,
    first_position=2,
)
ENCODERS = {
    "tiny-encoder": ClipConfig(64, NO_PICTURES, TINY_XLM_R),
    "xlm-roberta-base": ClipConfig(768, NO_PICTURES, XLM_R),
}
TINY_RESNET = dataclasses.replace(TINY, image=ClipResNetConfig(Preprocess(64), (1, 1, 1, 1), 16, 8))
MODELS = {"tiny": TINY, "tiny-RN": TINY_RESNET, "small": SMALL, **PUBLISHED, **ENCODERS}


def random_weights(name: str) -> ModelWeights:
    """A model's parameters, initialised as OpenAI's code does it, but no gain of a ResNet is 0."""
    if name not in MODELS:
        raise SystemExit(f"--models {name}: expected some of {', '.join(MODELS)}")
    scope = make_parameters(MODELS[name])
    for parameter, variable in flatten(scope).items():
        if parameter.endswith("/bn3/W"):
            variable.d = 0.5
    return ModelWeights(MODELS[name], scope, {})


def pictures(config: ClipConfig, count: int, seed: int = 0) -> np.ndarray:
    """(N, 3, R, R) float32, as preprocessed images are scaled."""
    size = config.image.resolution
    return np.random.default_rng(seed).normal(size=(count, 3, size, size)).astype(np.float32)


def captions(config: ClipConfig, count: int, tokens: int, seed: int = 0) -> np.ndarray:
    """(N, context) int32: start, random words, end at token number `tokens`, then padding."""
    text = config.text
    if isinstance(text, BertConfig):
        ids = np.full((count, text.context), text.pad, np.int32)
        words = np.random.default_rng(seed).integers(5, text.vocabulary, (count, tokens))
        ids[:, :tokens], ids[:, 0], ids[:, tokens - 1] = words, 0, 2
        return ids
    ids = np.zeros((count, text.context), np.int32)
    words = np.random.default_rng(seed).integers(1, text.vocabulary - 2, (count, tokens))
    ids[:, :tokens] = words
    ids[:, 0], ids[:, tokens - 1] = text.vocabulary - 2, text.vocabulary - 1
    return ids


def image_work(config: ClipConfig) -> float:
    """Floating-point operations in the products of one image, every token in every block."""
    image, blocks = config.image, config.image.blocks
    tokens, width = image.tokens, blocks.width
    layer = tokens * (4 * width * width + 2 * width * blocks.hidden) + 2 * tokens * tokens * width
    patches = (tokens - 1) * 3 * image.patch**2 * width
    return 2.0 * (blocks.layers * layer + patches + width * config.embed)


def image_work_needed(config: ClipConfig) -> float:
    """The same without what nobody reads: the last block asks for the class token alone."""
    image, blocks = config.image, config.image.blocks
    tokens, width = image.tokens, blocks.width
    unread = tokens - 1  # tokens whose query, output and perceptron are left out
    saved = unread * (2 * width * width + 2 * width * blocks.hidden) + 2 * unread * tokens * width
    return image_work(config) - 2.0 * saved


def step_work(config: ClipConfig, pairs: int, tokens: int) -> float:
    """The same for a training step with captions of so many tokens; backward is twice forward."""
    blocks = config.text.blocks
    layer = tokens * (4 * blocks.width**2 + 2 * blocks.width * blocks.hidden)
    layer += 2 * tokens * tokens * blocks.width
    text = 2.0 * (blocks.layers * layer + blocks.width * config.embed)
    return 3.0 * pairs * (image_work(config) + text)
