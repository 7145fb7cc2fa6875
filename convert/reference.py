"""The dialects' own model code, as published on PyPI: what conversions and graphs are held against.

Axes: N batch, R resolution, L tokens, E embedding.
"""

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from convert.dialect import Dialect
from convert.names import to_published
from convert.tensors import of_array
from convert.verify import Answers
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


def answers(
    dialect: Dialect, model: torch.nn.Module, images_N3RR: np.ndarray, ids_NL: np.ndarray
) -> Answers:
    """What `model`, in its own code, makes of N pictures and their N texts."""
    with torch.no_grad(), _hidden_states(dialect, model) as hidden:
        image_NE, text_NE = encode(model, images_N3RR, ids_NL)
    logits_NN = _logits(dialect, model, images_N3RR, ids_NL)
    own = torch.arange(len(logits_NN))
    loss = (cross_entropy(logits_NN, own) + cross_entropy(logits_NN.T, own)) / 2
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {
        n: of_array(p.grad.numpy()) for n, p in model.named_parameters() if p.grad is not None
    }
    return Answers(
        hidden,
        {"image": image_NE.numpy(), "text": text_NE.numpy()},
        logits_NN.detach().numpy(),
        loss.item(),
        {name: g.read() for name, g in to_published(gradients, dialect.table).items()},
    )


def _logits(
    dialect: Dialect, model: torch.nn.Module, images_N3RR: np.ndarray, ids_NL: np.ndarray
) -> torch.Tensor:
    """(N, N), a row for each picture, by the code's own method; differentiable."""
    code: Any = model
    images, ids = torch.from_numpy(images_N3RR), torch.from_numpy(ids_NL.astype(np.int64))
    if dialect.name == "huggingface":
        return code(pixel_values=images, input_ids=ids).logits_per_image
    if dialect.name == "open_clip":
        return code.get_logits(images, ids)[0]
    return code(images, ids)[0]


@contextmanager
def _hidden_states(
    dialect: Dialect, model: torch.nn.Module
) -> Iterator[dict[str, list[np.ndarray]]]:
    """What the blocks of both towers give while this is open."""
    code: Any = model
    hidden: dict[str, list[np.ndarray]] = {"image": [], "text": []}
    if dialect.name == "huggingface":
        towers = {"image": code.vision_model.encoder.layers, "text": code.text_model.encoder.layers}
    else:
        blocks = (code.visual.transformer.resblocks, code.transformer.resblocks)
        towers = dict(zip(("image", "text"), blocks, strict=True))

    def keep(tower: str, output: Any) -> None:
        x = (output[0] if isinstance(output, tuple) else output).detach()
        # OpenAI's code has the tokens on the first axis
        hidden[tower].append((x.transpose(0, 1) if dialect.name == "openai" else x).numpy())

    hooks = [
        block.register_forward_hook(lambda _, __, output, tower=tower: keep(tower, output))
        for tower, blocks in towers.items()
        for block in blocks
    ]
    try:
        yield hidden
    finally:
        for hook in hooks:
            hook.remove()
