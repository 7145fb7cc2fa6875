"""Hugging Face's dialect: whole models of the transformers library, each a row of MODELS.

Source: https://github.com/huggingface/transformers, models.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from nnclip.convert.built import Built, links_to, quiet
from nnclip.convert.dialect import (
    Code,
    Dialect,
    Names,
    Part,
    Settings,
    Source,
    part_of,
    whole_number,
    without_heads,
)
from nnclip.convert.names import Table
from nnclip.convert.tensors import Tensor
from nnclip.convert.transformers_clip import CLIP, METACLIP_2
from nnclip.convert.transformers_encoders import ALT_CLIP, CHINESE_CLIP, DUAL
from nnclip.convert.transformers_images import (
    OWN_FILE,
    PROCESSOR_FILE,
    read_preprocess,
    usual_preprocess,
    write_preprocess,
)
from nnclip.convert.transformers_models import FILE, Model, tower_settings
from nnclip.convert.transformers_siglip import SIGLIP, SIGLIP_2, of_images, preparing
from nnclip.convert.transformers_tokenizer import longest, of_encoder
from nnclip.convert.transformers_tokenizer import settings_of as tokenizer_settings
from nnclip.errors import CheckpointError
from nnclip.graph.bert import BertConfig
from nnclip.graph.config import ClipConfig
from nnclip.graph.losses import LOSSES
from nnclip.graph.towers import Tower
from nnclip.json_text import brief

FILES = (FILE, OWN_FILE, PROCESSOR_FILE)
# The first that can write a model writes it.
MODELS: tuple[Model, ...] = (CLIP, METACLIP_2, SIGLIP, SIGLIP_2, CHINESE_CLIP, ALT_CLIP, DUAL)
KINDS = {model.kind: model for model in MODELS}
MASKED = (CHINESE_CLIP.kind, ALT_CLIP.kind, DUAL.kind)  # whose text tower is told of padding
# 0, 1, 2, ... and the types of tokens, which are all the first
DROPPED = (
    r"(vision|text)_model\.((vision|text)_model\.|roberta\.)?embeddings\.(position|token_type)_ids"
)


def model_of(source: Source) -> Model:
    """The family that config.json names; CheckpointError if there is none, or another one."""
    whole = source.settings.get(FILE)
    if whole is None:
        raise CheckpointError(f"{source.path}: found no {FILE} beside it, which tells the heads")
    kind = whole.get("model_type", CLIP.kind)
    if not isinstance(kind, str) or kind not in KINDS:
        raise CheckpointError(
            f"{FILE}: found a {brief(kind)} model, which nnclip does not know; of transformers' "
            f"models it knows {', '.join(KINDS)}, and those that docs/models.md lists"
        )
    return KINDS[kind]


def describe(source: Source) -> dict[str, Any]:
    """What config.json, the image processor's file and the tokenizer's say.

    Raises:
        CheckpointError: no config.json, or a setting that is not known.
    """
    model, whole = model_of(source), source.settings[FILE]
    image, text = model.sides(model.plain(source.tensors))
    vision, words = (tower_settings(whole, side) for side in ("vision", "text"))
    return {
        **image.read(vision),
        **text.read(words),
        **images_metadata(source, vision, model.processor),
        **text_metadata(source, words, text, model),
    }


def images_metadata(source: Source, cfg: Settings, processor: str) -> dict[str, Any]:
    """How images are prepared for a tower with these settings."""
    told = read_preprocess(source.settings, cfg)
    return (told or usual_preprocess(processor, cfg)).metadata()


def text_metadata(source: Source, cfg: Settings, text: Part, model: Model) -> dict[str, Any]:
    """The tokenizer, and of an encoder the longest text."""
    if text.tower is not BertConfig:
        return model.tokenizer(source, cfg)
    told: dict[str, Any] = {"tokenizer": of_encoder(source)}
    length, first = longest(source), text.read(cfg)["bert_first_position"]
    if length is not None:
        rows = whole_number(cfg, "max_position_embeddings", 512, 1)
        told["bert_context"] = min(length, rows - first)
    return told


def settings_of(config: ClipConfig) -> dict[str, Settings]:
    """The files that `AutoModel.from_pretrained` and `AutoImageProcessor.from_pretrained` read."""
    without_heads(config, "transformers")
    model, (image, text) = _writer((config.image, config.text))
    if LOSSES[config.loss].scalars.keys() != model.scalars.keys():
        raise CheckpointError(
            f"found the {config.loss} loss, but transformers' {model.code} knows only the one of "
            f"{', '.join(model.scalars)}; use --dialect open_clip"
        )
    whole = model.settings(image.write(config.image), text.write(config.text), config.embed)
    return {FILE: whole, OWN_FILE: write_preprocess(config.image.preprocess)}


def _writer(towers: tuple[Tower, ...]) -> tuple[Model, tuple[Part, ...]]:
    """The family that can write these towers, and its parts.

    Where there is none, CLIP's parts stand for it: what they write names what does not fit.
    """
    for model in MODELS:
        if parts := model.writers(towers):
            return model, parts
    for part, tower in zip((CLIP.images[0], CLIP.texts[0]), towers, strict=True):
        if type(tower) is part.tower and not part.fits(tower):
            part.write(tower)
    return CLIP, tuple(part_of(CLIP.images + CLIP.texts, t, "transformers") for t in towers)


def _table(parts: tuple[Part, ...], model: Model) -> Table:
    tables = (*(part.table for part in parts), model.scalars)
    return {name: rule for table in tables for name, rule in table.items()}


def _reading(source: Source) -> Table:
    model = model_of(source)
    return _table(model.sides(model.plain(source.tensors)), model)


def _writing(towers: tuple[Tower, ...]) -> Table:
    model, parts = _writer(towers)
    return _table(parts, model)


def _needed(source: Source) -> tuple[Table, str]:
    model = model_of(source)
    return _reading(source), model.sides(model.plain(source.tensors))[0].words


def _scalars(towers: tuple[Tower, ...]) -> Table:
    return next((model.scalars for model in MODELS if model.writers(towers)), CLIP.scalars)


def _folded(source: Source) -> dict[str, Tensor]:
    return model_of(source).plain(source.tensors)


def _carried(source: Source, config: ClipConfig) -> dict[str, Any]:
    """The tokenizer, which the .h5 carries where it is not OpenAI's."""
    told = {k: v for k, v in describe(source).items() if k == "tokenizer"}
    config.text.tokenizer(told, source.path)
    return told


def _claims(source: Source) -> bool:
    return any(key.startswith(("vision_model.", "text_model.")) for key in source.tensors)


def _build(config: ClipConfig) -> Any:
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    code, told = _writer((config.image, config.text))[0].code, settings_of(config)[FILE]
    settings = getattr(transformers, code.replace("Model", "Config"))
    return getattr(transformers, code)(settings(**told))


def _texts(model: Any, ids: Any) -> dict[str, Any]:
    """The inputs of a model's text tower: the ids, and a mask where it is told of padding."""
    if model.config.model_type not in MASKED:
        return {"input_ids": ids}
    pad = model.config.text_config.pad_token_id
    return {"input_ids": ids, "attention_mask": (ids != pad).long()}


def _features(model: Any, config: ClipConfig, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    import torch

    ids = torch.from_numpy(inputs["text"]).long()
    found = {
        "image": model.get_image_features(**of_images(model, inputs["image"])),
        "text": model.get_text_features(**_texts(model, ids)),
    }
    # transformers 5 gives the tower's whole output, earlier ones the features themselves
    return {side: getattr(output, "pooler_output", output) for side, output in found.items()}


def _logits(model: Any, images: Any, ids: Any) -> Any:
    told = {**of_images(model, images.numpy()), **_texts(model, ids)}
    return model(**told).logits_per_image


def _blocks(model: Any) -> dict[str, Any]:
    from torch.nn import ModuleList

    towers = {"image": model.vision_model, "text": model.text_model}
    return {
        side: next(m for m in tower.modules() if isinstance(m, ModuleList))
        for side, tower in towers.items()
    }


def _open(source: Source) -> Built:
    return opened(source, "AutoModel")


def opened(source: Source, code: str) -> Built:
    """What a class of transformers makes of a folder, with its image processor if it has one."""
    import torch
    import transformers

    beside = {path.name: path for path in source.files[0].parent.glob("*.json")}
    files = {k: v for k, v in beside.items() if ".index." not in k}
    with links_to(files) as links, quiet():
        state = {name: torch.from_numpy(t.read().copy()) for name, t in source.tensors.items()}
        torch.save(state, links / "pytorch_model.bin")  # without what is around them, in one piece
        transformers.utils.logging.disable_progress_bar()
        model = getattr(transformers, code).from_pretrained(links, dtype=torch.float32)
        if not any((links / name).exists() for name in FILES[1:]):
            return Built(model.eval(), None)
        processor: Any = transformers.AutoImageProcessor.from_pretrained(links, backend="pil")
    return Built(model.eval(), preparing(processor))


DIALECT = Dialect(
    "huggingface",
    Names(_reading, _writing, _needed, _scalars),
    DROPPED,
    _claims,
    describe,
    settings_of,
    Code(
        "transformers",
        "transformers",
        _build,
        _features,
        open=_open,
        logits=_logits,
        blocks=_blocks,
    ),
    settings=FILES,
    file="model.safetensors",
    pipeline="transformers",
    carried=_carried,
    folded=_folded,
    tokenizing=tokenizer_settings,
)
