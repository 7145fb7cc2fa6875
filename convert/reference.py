"""The dialects' own model code, as published on PyPI: what conversions and graphs are held against.

Axes: N batch, R resolution, L tokens, E embedding.
"""

import importlib.util
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convert.dialect import Dialect
from nnclip.errors import ConfigError
from nnclip.graph.config import ClipConfig

PACKAGES = {
    "openai": "clip-anytorch",
    "open_clip": "open_clip_torch",
    "huggingface": "transformers",
}
MODULES = {"openai": "clip", "open_clip": "open_clip", "huggingface": "transformers"}


def build(dialect: Dialect, config: ClipConfig) -> torch.nn.Module:
    """The model in the dialect's own code, with random weights, as `dialect.settings_of` asks.

    Raises:
        ConfigError: the package that has this code is not installed.
    """
    if importlib.util.find_spec(MODULES[dialect.name]) is None:
        raise ConfigError(
            f"comparing with {dialect.name} needs {PACKAGES[dialect.name]}, which is not "
            "installed: `make setup-dev`, then try again"
        )
    settings = dialect.settings_of(config)
    model: torch.nn.Module = _BUILDERS[dialect.name](config, settings).eval().float()
    return model


def _openai(config: ClipConfig, settings: Mapping[str, Any]) -> torch.nn.Module:
    image, text = config.image, config.text
    return openai_code().CLIP(
        config.embed,
        image.resolution,
        image.blocks.layers,
        image.blocks.width,
        image.patch,
        text.context,
        text.vocabulary,
        text.blocks.width,
        text.blocks.heads,
        text.blocks.layers,
    )


def openai_code() -> Any:
    """The module clip/model.py, without its package, which wants more than torch."""
    package = importlib.util.find_spec("clip")
    assert package is not None and package.origin is not None
    file = Path(package.origin).with_name("model.py")
    spec = importlib.util.spec_from_file_location("openai_clip_model", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _open_clip(config: ClipConfig, settings: Mapping[str, Any]) -> torch.nn.Module:
    import open_clip.model

    cfg = settings["open_clip_config.json"]["model_cfg"]
    return open_clip.model.CLIP(**cfg)


def _huggingface(config: ClipConfig, settings: Mapping[str, Any]) -> torch.nn.Module:
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    return transformers.CLIPModel(transformers.CLIPConfig(**settings["config.json"]))


_BUILDERS: dict[str, Callable[[ClipConfig, Mapping[str, Any]], torch.nn.Module]] = {
    "openai": _openai,
    "open_clip": _open_clip,
    "huggingface": _huggingface,
}


def encode(
    model: torch.nn.Module, images_N3RR: np.ndarray, ids_NL: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of pictures and of texts, (N, E) each, not normalised, differentiable."""
    code: Any = model
    images, ids = torch.from_numpy(images_N3RR), torch.from_numpy(ids_NL.astype(np.int64))
    if hasattr(code, "get_image_features"):
        found = code.get_image_features(images), code.get_text_features(ids)
        # transformers 5 gives the tower's whole output, earlier ones the features themselves
        features = [getattr(output, "pooler_output", output) for output in found]
        return features[0], features[1]
    return code.encode_image(images), code.encode_text(ids)
