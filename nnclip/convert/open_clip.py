"""open_clip's dialect: OpenAI's names and those of timm's towers, with the settings in a JSON file.

Source: https://github.com/mlfoundations/open_clip, src/open_clip/model.py and factory.py.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from nnclip.convert import (
    open_clip_coca,
    open_clip_encoders,
    open_clip_tokenizer,
    openai,
    timm_convnext,
    timm_eva,
    timm_fastvit,
    timm_vit,
    timm_vitamin,
)
from nnclip.convert.built import Built, links_to, quiet
from nnclip.convert.dialect import Code, Dialect, Names, Settings, Source, part, without_heads
from nnclip.convert.families import FILE, SIZES, Family, check
from nnclip.convert.names import Table, below, same
from nnclip.convert.open_clip_images import read_preprocess, write_preprocess
from nnclip.convert.open_clip_own import OWN_TEXT, RESNET, VIT, check_quick
from nnclip.convert.tensors import Tensor
from nnclip.errors import CheckpointError
from nnclip.graph.config import ClipConfig
from nnclip.graph.losses import LOSSES
from nnclip.graph.towers import Tower

# The first that knows a tower's settings is its family; so is the first that can write a tower.
IMAGES: tuple[Family, ...] = (
    timm_vit.FAMILY,
    *timm_eva.FAMILIES,
    timm_convnext.FAMILY,
    timm_vitamin.FAMILY,
    timm_fastvit.FAMILY,
    open_clip_coca.IMAGE_FAMILY,
    RESNET,
    VIT,
)
TEXTS: tuple[Family, ...] = (
    open_clip_encoders.ROBERTA_MLP,
    open_clip_encoders.ROBERTA,
    open_clip_encoders.NLLB,
    open_clip_coca.TEXT_FAMILY,
    OWN_TEXT,
)
MODEL = {
    **dict.fromkeys(("embed_dim", "vision_cfg", "text_cfg", "quick_gelu"), SIZES),
    # tensors of the file, or their names
    **dict.fromkeys(("init_logit_scale", "init_logit_bias", "nonscalar_logit_scale"), SIZES),
    "custom_text": SIZES,
    "output_dict": SIZES,
    "multimodal_cfg": SIZES,  # of a decoder of captions, which is left out
}
SCALARS = {name: same(name) for name in ("logit_scale", "logit_bias")}
BELOW = "text."  # before the names of text towers of CustomTextCLIP


def _cfgs(source: Source) -> tuple[Settings, Settings, Settings] | None:
    """The settings of the model, of its image tower and of its text tower."""
    whole = source.settings.get(FILE)
    if whole is None:
        return None
    model = part(whole, "model_cfg", whole)
    return model, part(model, "vision_cfg"), part(model, "text_cfg")


def _family(families: tuple[Family, ...], cfg: Settings) -> Family:
    return next(family for family in families if family.knows(cfg))


def describe(source: Source) -> dict[str, Any]:
    """What open_clip_config.json says that shapes do not, where it is there.

    Raises:
        CheckpointError: a setting that is not known, or not computed here.
    """
    cfgs = _cfgs(source)
    if cfgs is None:
        return {}
    model, vision, text = cfgs
    check("model_cfg", model, MODEL)
    images = part(source.settings[FILE], "preprocess_cfg")
    return {
        **_family(IMAGES, vision).describe(source, model, vision),
        **_family(TEXTS, text).describe(source, model, text),
        **open_clip_tokenizer.describe(source, text),
        **read_preprocess(images, vision.get("image_size", 224)).metadata(),
    }


def settings_of(config: ClipConfig) -> dict[str, Settings]:
    """The file that open_clip's `local-dir:` reads."""
    without_heads(config, "open_clip")
    image, text = _written(config.image, config.text)
    vision, words = image.settings_for(config.image), text.settings_for(config.text)
    assert vision is not None and words is not None
    model = {
        "embed_dim": config.embed,
        "quick_gelu": check_quick(config.image, config.text),
        "vision_cfg": vision,
        "text_cfg": {**words, **open_clip_tokenizer.settings_of(config.text)},
    }
    if image.custom or text.custom:
        model["custom_text"] = True
    if "logit_bias" in LOSSES[config.loss].scalars:
        model["init_logit_bias"] = LOSSES[config.loss].scalars["logit_bias"]  # makes the tensor
    return {FILE: {"model_cfg": model, "preprocess_cfg": write_preprocess(config.image.preprocess)}}


def _written(image: Tower, text: Tower) -> tuple[Family, Family]:
    """The families that can write both towers; CheckpointError if open_clip has no such model."""
    return _writer(IMAGES, image), _writer(TEXTS, text)


def _writer(families: tuple[Family, ...], tower: Tower) -> Family:
    for family in families:
        if family.settings_for(tower) is not None:
            return family
    raise CheckpointError(f"found a {tower.kind}, which the code of open_clip does not know")


def _table(image: Family, text: Family, custom: bool) -> Table:
    return {**image.table, **(below(BELOW, text.table) if custom else text.table), **SCALARS}


def _is_custom(source: Source) -> bool:
    """Whether the text tower stands below a name of its own."""
    return any(name.startswith(BELOW) for name in source.tensors)


def _found(source: Source) -> tuple[Family, Family]:
    """The families of a source: by its settings, without them by OpenAI's names."""
    if cfgs := _cfgs(source):
        return _family(IMAGES, cfgs[1]), _family(TEXTS, cfgs[2])
    return RESNET if openai.RESNET_MARKER in source.tensors else VIT, OWN_TEXT


def _reading(source: Source) -> Table:
    return _table(*_found(source), _is_custom(source))


def _folded(source: Source) -> dict[str, Tensor]:
    return _found(source)[0].fold(source.tensors)


def _writing(towers: tuple[Tower, ...]) -> Table:
    image, text = _written(*towers)
    return _table(image, text, image.custom or text.custom)


def _needed(source: Source) -> tuple[Table, str]:
    """Of OpenAI's layout all; others are told by what of them is there."""
    cfgs, (image, text) = _cfgs(source), _found(source)
    if cfgs is None and any(name.startswith(timm_vit.TRUNK) for name in source.tensors):
        raise CheckpointError(
            f"found an image tower of timm, expected an {FILE} beside it that says which; give the "
            "file with --config"
        )
    lacking = cfgs is not None and (cfgs[1].get("no_ln_pre") or cfgs[2].get("proj_bias"))
    if _is_custom(source) or lacking or text is not OWN_TEXT or image not in (VIT, RESNET):
        return {}, ""
    words = "vision transformer" if image is VIT else "ResNet"
    return {**image.table, **openai.TEXT, **openai.SCALE}, words


def _carried(source: Source, config: ClipConfig) -> dict[str, Any]:
    """The tokenizer, which the .h5 carries; CheckpointError if it does not fit the token table."""
    told = {k: v for k, v in describe(source).items() if k == "tokenizer"}
    config.text.tokenizer(told, open_clip_tokenizer.FILE)
    return told


def _claims(source: Source) -> bool:
    of_open_clip = source.kind == "safetensors file" or source.path.name.startswith("open_clip")
    return openai.has_names(source) and (of_open_clip or source.wrapped or FILE in source.settings)


def _check_told(metadata: Mapping[str, Any]) -> None:
    # what is told of the image tower comes with them, if it has any; an encoder is told of whole
    if not ({"text_activation", "text_heads"} <= metadata.keys() or "bert_pad" in metadata):
        raise CheckpointError(
            f"found no {FILE} beside it, which tells the activation and the heads; "
            "give the file with --config, or say --activation and --heads"
        )


def _build(config: ClipConfig) -> Any:
    import open_clip.model

    told = dict(settings_of(config)[FILE]["model_cfg"])
    custom = told.pop("custom_text", False)
    return (open_clip.model.CustomTextCLIP if custom else open_clip.model.CLIP)(**told)


def _encoded(model: Any, config: ClipConfig, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Features of both sides; CoCa's code normalises them unless it is told not to."""
    import torch

    images, ids = torch.from_numpy(inputs["image"]), torch.from_numpy(inputs["text"]).long()
    return {
        "image": model.encode_image(images, normalize=False),
        "text": model.encode_text(ids, normalize=False),
    }


def _open(source: Source) -> Built | None:
    import torch
    from open_clip import create_model_and_transforms

    told = source.settings.get(FILE)
    if told is None:
        return None
    whole = told if "model_cfg" in told else {"model_cfg": told}
    file = source.files[0]
    suffix = ".safetensors" if source.kind == "safetensors file" else ".bin"
    plain = len(source.files) == 1 and not source.notes
    with links_to({f"open_clip_model{suffix}": file} if plain else {}) as folder, quiet():
        if not plain:  # without what is around them, in one piece
            state = {name: torch.from_numpy(t.read().copy()) for name, t in source.tensors.items()}
            torch.save(state, folder / "open_clip_model.bin")
        (folder / FILE).write_text(json.dumps(whole), encoding="utf-8")
        for other in source.files[0].parent.glob("*.json"):  # tokenizers
            if not (folder / other.name).exists():
                (folder / other.name).symlink_to(other.resolve())
        model, _, transform = create_model_and_transforms(f"local-dir:{folder}")
    return Built(model.eval(), lambda image: np.asarray(transform(image)))


DIALECT = Dialect(
    "open_clip",
    Names(_reading, _writing, _needed, lambda towers: SCALARS),
    "|".join((openai.DROPPED, open_clip_encoders.DROPPED, open_clip_coca.DROPPED)),
    _claims,
    describe,
    settings_of,
    Code(
        "open_clip_torch",
        "open_clip",
        _build,
        _encoded,
        open=_open,
        logits=lambda model, images, ids: model.get_logits(images, ids)[0],
        blocks=openai.blocks_of,
    ),
    settings=(FILE,),
    file="open_clip_model.safetensors",
    carried=_carried,
    check_told=_check_told,
    folded=_folded,
    left_out={open_clip_coca.DECODER: "the decoder of captions"},
)
