"""The dialects' own model code, as published on PyPI: what conversions and graphs are held against.

Axes: N batch, R resolution, L tokens, E embedding.
"""

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from nnclip.convert.dialect import Dialect, own_towers
from nnclip.convert.names import to_published
from nnclip.convert.tensors import of_array
from nnclip.convert.verify import Answers
from nnclip.errors import ConfigError
from nnclip.graph.config import BertConfig, ClipConfig, ClipResNetConfig, ResNetConfig
from nnclip.graph.towers import Tower

PACKAGES = {
    "openai": "clip-anytorch",
    "open_clip": "open_clip_torch",
    "huggingface": "transformers",
    "torchvision": "torchvision",
    "bert": "transformers",
    "distilbert": "transformers",
}
MODULES = {**PACKAGES, "openai": "clip", "open_clip": "open_clip"}


def build(dialect: Dialect, config: ClipConfig | Tower) -> torch.nn.Module:
    """The model in the dialect's own code, with random weights, as `dialect.settings_of` asks.

    Raises:
        ConfigError: the package that has this code is not installed.
    """
    if importlib.util.find_spec(MODULES[dialect.name]) is None:
        raise ConfigError(
            f"comparing with {dialect.name} needs {PACKAGES[dialect.name]}, which is not "
            "installed: `make setup-dev`, then try again"
        )
    # transformers has no projection of its own: the builder adds it
    alone = replace(config, projection=0) if isinstance(config, BertConfig) else config
    settings = dialect.settings_of(alone)
    model: torch.nn.Module = _BUILDERS[dialect.name](config, settings).eval().float()
    return model


def _openai(config: ClipConfig, settings: Mapping[str, Any]) -> torch.nn.Module:
    image, text = own_towers(config, "openai")
    vision: tuple[Any, ...]
    if isinstance(image, ClipResNetConfig):
        vision = (image.layers, image.width, None)
    else:
        vision = (image.blocks.layers, image.blocks.width, image.patch)
    return openai_code().CLIP(
        config.embed,
        image.resolution,
        *vision,
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


def _torchvision(config: ResNetConfig, settings: Mapping[str, Any]) -> torch.nn.Module:
    from torchvision.models import resnet

    block = resnet.Bottleneck if config.bottleneck else resnet.BasicBlock
    model = resnet.ResNet(block, list(config.layers))
    model.fc = torch.nn.Identity()
    return model


def _bert(config: BertConfig, settings: Mapping[str, Any]) -> torch.nn.Module:
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    told = dict(settings["config.json"])
    kind = told.pop("architectures")[0]
    pooler = {} if kind == "DistilBertModel" else {"add_pooling_layer": False}
    settings_class = getattr(transformers, kind.replace("Model", "Config"))
    model: torch.nn.Module = getattr(transformers, kind)(settings_class(**told), **pooler)
    if config.projection:
        width = config.blocks.width
        model.projection = torch.nn.Linear(width, config.projection, config.projection_bias)
    return model


_BUILDERS: dict[str, Callable[[Any, Mapping[str, Any]], torch.nn.Module]] = {
    "openai": _openai,
    "open_clip": _open_clip,
    "huggingface": _huggingface,
    "torchvision": _torchvision,
    "bert": _bert,
    "distilbert": _bert,
}


def encode_pooled(
    model: torch.nn.Module, config: BertConfig, ids_NL: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (N, L, D) and features (N, E) of texts, differentiable, by an encoder of `build`.

    Source: sentence-transformers' Pooling and Dense; M-CLIP's MultilingualCLIP.forward.
    """
    code: Any = model
    ids, mask = torch.from_numpy(ids_NL.astype(np.int64)), torch.from_numpy(ids_NL != config.pad)
    tokens_NLD = code(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    if config.pooling == "first":
        pooled_ND = tokens_NLD[:, 0]
    else:
        pooled_ND = (tokens_NLD * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    return tokens_NLD, code.projection(pooled_ND) if config.projection else pooled_ND


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
    loss = _loss(model, images_N3RR, ids_NL, logits_NN)
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


def _loss(
    model: torch.nn.Module, images_N3RR: np.ndarray, ids_NL: np.ndarray, logits_NN: torch.Tensor
) -> torch.Tensor:
    """The loss that the model was made for, shape (); SigLIP's where there is a bias."""
    code: Any = model
    if getattr(model, "logit_bias", None) is not None:
        from open_clip.loss import SigLipLoss

        inputs = torch.from_numpy(images_N3RR), torch.from_numpy(ids_NL.astype(np.int64))
        return SigLipLoss()(*code(*inputs))
    own = torch.arange(len(logits_NN))
    return (cross_entropy(logits_NN, own) + cross_entropy(logits_NN.T, own)) / 2


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


def _stages_or_blocks(visual: Any) -> Any:
    if hasattr(visual, "layer4"):
        return [visual.layer1, visual.layer2, visual.layer3, visual.layer4]
    return visual.transformer.resblocks


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
        towers = {"image": _stages_or_blocks(code.visual), "text": code.transformer.resblocks}

    def keep(tower: str, output: Any) -> None:
        x = (output[0] if isinstance(output, tuple) else output).detach()
        # OpenAI's code has the tokens on the first axis
        turned = dialect.name == "openai" and x.ndim == 3
        hidden[tower].append((x.transpose(0, 1) if turned else x).numpy())

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
