"""The face of nnclip: load a model, then ask it.

    from nnclip import clip

    clip.load("ViT-B-32.h5")
    image = clip.preprocess(Image.open("picture.jpg"))[None]
    per_image, per_text = clip.logits(image, clip.tokenize(["a dog", "a cat"]))

The functions speak to the model that was loaded last; `load` also returns it, so that several can
be held at once, each with its own parameters. Arrays in, arrays out: compiled and fast. NNabla
Variables in, Variables out: differentiable, with or without `nn.auto_forward()`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nnclip.errors import ConfigError
from nnclip.fastest import LEAST_COSINE
from nnclip.image import Preprocess
from nnclip.model import CLIP, Array
from nnclip.text import openai_tokenizer
from nnclip.weights.download import cache_dir
from nnclip.weights.known import KnownModel, known_models

__all__ = [
    "CLIP",
    "available_models",
    "current",
    "encode_image",
    "encode_text",
    "load",
    "logits",
    "preprocess",
    "tokenize",
]

_current: CLIP | None = None


def available_models() -> list[KnownModel]:
    """The models that `load` knows by a name, with their facts and their files on this machine."""
    return known_models(cache_dir())


def load(
    source: str | Path | None = None,
    *,
    precision: str | None = None,
    context: str = "cpu",
    streams: int | None = None,
    calibration: Sequence[Image.Image | np.ndarray] | None = None,
    calibration_texts: Sequence[str] | None = None,
    least_cosine: float = LEAST_COSINE,
    cache_dir: str | Path | None = None,
) -> CLIP:
    """Load a model and make it the current one; the arguments and errors are those of `CLIP`.

    Where it fails, the model that was current stays so.
    """
    global _current
    _current = CLIP(
        source,
        precision=precision,
        context=context,
        streams=streams,
        calibration=calibration,
        calibration_texts=calibration_texts,
        least_cosine=least_cosine,
        cache_dir=cache_dir,
    )
    return _current


def current() -> CLIP:
    """The model that was loaded last; ConfigError if there is none."""
    if _current is None:
        raise ConfigError("found no loaded model, expected one: call clip.load() first")
    return _current


def preprocess(image: Image.Image) -> np.ndarray:
    """An image -> (3, R, R) float32 for the current model; R is 224 before one is loaded."""
    return Preprocess()(image) if _current is None else _current.preprocess(image)


def tokenize(
    texts: str | Sequence[str], context_length: int | None = None, truncate: bool = False
) -> np.ndarray:
    """Texts -> (N, L) int32 for the current model; OpenAI's vocabulary before one is loaded.

    Args:
        texts: one or several.
        context_length: L; the current model's context if None, 77 before one is loaded.
        truncate: cut texts that are too long; otherwise they raise DataError.
    """
    if _current is None:
        return openai_tokenizer()(texts, context_length or 77, truncate)
    return _current.tokenize(texts, context_length, truncate)


def encode_image(images: Array) -> Array:
    """Features (N, E) of images (N, 3, R, R) by the current model; see `CLIP.encode_image`."""
    return current().encode_image(images)


def encode_text(ids: Array) -> Array:
    """Features (N, E) of token ids (N, L) by the current model; see `CLIP.encode_text`."""
    return current().encode_text(ids)


def logits(images: Array, ids: Array) -> tuple[Array, Array]:
    """Scaled similarities (N, M) and (M, N) by the current model; see `CLIP.logits`."""
    return current().logits(images, ids)
