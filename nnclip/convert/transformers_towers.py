"""One tower of transformers alone, to be joined with another: CLIPVisionModelWithProjection, ...

Source: https://github.com/huggingface/transformers, models/clip, metaclip_2, siglip, chinese_clip
and altclip.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnclip.convert.built import Built
from nnclip.convert.dialect import Code, Dialect, Names, Part, Settings, Source, unusual
from nnclip.convert.huggingface import DROPPED, FILES, images_metadata, opened
from nnclip.convert.names import Table
from nnclip.convert.tensors import Tensor
from nnclip.convert.transformers_clip import (
    CLIP,
    METACLIP_2,
    TOKENIZER,
    text_settings,
    vision_settings,
)
from nnclip.convert.transformers_encoders import ALT_CLIP, CHINESE_CLIP
from nnclip.convert.transformers_images import OWN_FILE, write_preprocess
from nnclip.convert.transformers_models import FILE, Model
from nnclip.convert.transformers_siglip import SIGLIP, SIGLIP_2, of_images
from nnclip.convert.transformers_tokenizer import settings_of as tokenizer_settings
from nnclip.errors import CheckpointError
from nnclip.graph.towers import Tower


@dataclass(frozen=True)
class Alone:
    """A tower of a whole model that has a class of its own.

    Attributes:
        kind: the `model_type` that config.json names.
        model: the family that it is of.
        side: "image" or "text".
        projected: the class that projects features, empty if there is none.
        bare: the class that does not.
    """

    kind: str
    model: Model
    side: str
    projected: str
    bare: str

    @property
    def part(self) -> Part:
        """How the whole model keeps it."""
        return (self.model.images if self.side == "image" else self.model.texts)[0]

    @property
    def scope(self) -> str:
        """What stands before its names, but for the projection's."""
        return "vision_model." if self.side == "image" else "text_model."

    def code(self, tower: Any) -> str:
        """The class for this tower."""
        matrix = self.projected and tower.projection == "matrix"
        return self.projected if matrix else self.bare


def _alone(model: Model, prefix: str, side: str, projected: bool) -> Alone:
    word, told = ("Vision", "vision") if side == "image" else ("Text", "text")
    code = f"{prefix}{word}Model"
    kind = f"{model.kind}_{told}_model"
    return Alone(kind, model, side, f"{code}WithProjection" if projected else "", code)


# The first that can write a tower writes it.
ALONE = (
    _alone(CLIP, "CLIP", "image", True),
    _alone(CLIP, "CLIP", "text", True),
    _alone(METACLIP_2, "MetaClip2", "image", True),
    _alone(METACLIP_2, "MetaClip2", "text", True),
    _alone(SIGLIP, "Siglip", "image", False),
    _alone(SIGLIP, "Siglip", "text", False),
    _alone(SIGLIP_2, "Siglip2", "image", False),
    _alone(SIGLIP_2, "Siglip2", "text", False),
    _alone(CHINESE_CLIP, "ChineseCLIP", "image", False),
    _alone(ALT_CLIP, "AltCLIP", "image", False),
)
KINDS = {one.kind: one for one in ALONE}


def _kind(source: Source) -> Any:
    return source.settings.get(FILE, {}).get("model_type")


def _found(source: Source) -> Alone:
    """What config.json names; CheckpointError if it is none of these."""
    kind = _kind(source)
    if not isinstance(kind, str) or kind not in KINDS:
        raise CheckpointError(
            f"{FILE}: found the model_type {kind!r}, expected one of {', '.join(KINDS)}"
        )
    return KINDS[kind]


def _plain(source: Source) -> dict[str, Tensor]:
    """The tensors with the tower's scope before them, which a class without a projection lacks."""
    one = _found(source)
    scoped = any(name.startswith(one.scope) for name in source.tensors)
    tensors = source.tensors if scoped else {one.scope + k: t for k, t in source.tensors.items()}
    return {k: t for k, t in one.model.plain(tensors).items() if not re.fullmatch(DROPPED, k)}


def describe(source: Source) -> dict[str, Any]:
    """What config.json and the files beside say.

    Raises:
        CheckpointError: a setting that is not known.
    """
    one, cfg = _found(source), source.settings[FILE]
    name = "visual_projection.weight" if one.side == "image" else "text_projection.weight"
    matrix = any(name in rule.parts for rule in one.part.table.values())
    bare = {f"{one.side}_projection": "none"} if matrix and name not in source.tensors else {}
    if one.side == "image":
        more = images_metadata(source, cfg, one.model.processor)
    else:
        more = one.model.tokenizer(source, cfg)
    return {**one.part.read(cfg), **bare, **more}


def _writer(tower: Any) -> Alone:
    for one in ALONE:
        if one.side != tower.side or type(tower) is not one.part.tower:
            continue
        plain = unusual(tower, ("projection", "pool", "eos", *TOKENIZER)) is None
        bare = one.projected and getattr(tower, "projection", "") == "none"
        if one.part.fits(tower) or (plain and bare):
            return one
    raise CheckpointError(
        f"found a {tower.kind}, but the code of transformers knows only towers of "
        f"{', '.join(one.bare for one in ALONE if one.side == tower.side)}"
    )


def settings_of(tower: Any) -> dict[str, Settings]:
    """The files that `from_pretrained` reads."""
    one = _writer(tower)
    plain = one.projected and tower.projection == "none"
    if plain:
        write = vision_settings if one.side == "image" else text_settings
        told = write(tower, one.kind)
    else:
        told = one.part.write(tower)
    key = "projection_dim" if one.projected else "projection_size"
    features = getattr(tower, "features", 0)  # 0 where it has no projection
    width = {key: features} if features else {}
    whole = {"architectures": [one.code(tower)], **told, **width}
    images = {OWN_FILE: write_preprocess(tower.preprocess)} if one.side == "image" else {}
    return {FILE: whole, **images}


def _build(tower: Any) -> Any:
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    one, told = _writer(tower), settings_of(tower)[FILE]
    settings = getattr(transformers, f"{one.bare.removesuffix('Model')}Config")
    return getattr(transformers, one.code(tower))(settings(**told))


def _features(model: Any, tower: Tower, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    import torch

    if tower.side == "image":
        found = model(**of_images(model, inputs["image"]))
    else:
        found = model(input_ids=torch.from_numpy(inputs["text"]).long())
    projected = "image_embeds" if tower.side == "image" else "text_embeds"
    name = projected if hasattr(found, projected) else "pooler_output"
    return {tower.side: getattr(found, name)}


def _open(source: Source) -> Built:
    one = _found(source)
    projected = any(name.endswith("_projection.weight") for name in source.tensors)
    return opened(source, one.projected if projected else one.bare)


def _claims(side: str) -> Callable[[Source], bool]:
    def claims(source: Source) -> bool:
        kind = _kind(source)
        return isinstance(kind, str) and kind in KINDS and KINDS[kind].side == side

    return claims


def _reading(source: Source) -> Table:
    return _found(source).part.table


def _writing(towers: tuple[Tower, ...]) -> Table:
    return _writer(towers[0]).part.table


def _carried(source: Source, tower: Any) -> dict[str, Any]:
    """The tokenizer of a text tower, where it is not OpenAI's."""
    told = {k: v for k, v in describe(source).items() if k == "tokenizer"}
    if tower.side == "text":
        tower.tokenizer(told, source.path)
    return told


def _dialect(side: str) -> Dialect:
    return Dialect(
        f"huggingface_{side}",
        Names(_reading, _writing),
        DROPPED,
        _claims(side),
        describe,
        settings_of,
        Code("transformers", "transformers", _build, _features, open=_open),
        settings=FILES,
        file="model.safetensors",
        side=side,
        pipeline="transformers",
        carried=_carried,
        folded=_plain,
        tokenizing=tokenizer_settings if side == "text" else None,
    )


IMAGE_DIALECT, TEXT_DIALECT = _dialect("image"), _dialect("text")
