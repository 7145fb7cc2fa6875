"""open_clip's dialect: OpenAI's names and those of timm's towers, with the settings in a JSON file.

Source: https://github.com/mlfoundations/open_clip, src/open_clip/model.py and factory.py.
"""

from typing import Any

from nnclip.convert import open_clip_tokenizer, openai, timm_convnext, timm_vit, timm_vitamin
from nnclip.convert.dialect import Dialect, Settings, Source, part
from nnclip.convert.families import FILE, SIZES, Family, check
from nnclip.convert.names import Table, below, same
from nnclip.convert.open_clip_images import read_preprocess, write_preprocess
from nnclip.convert.open_clip_own import OWN_TEXT, RESNET, VIT, check_quick
from nnclip.errors import CheckpointError
from nnclip.graph.config import ClipConfig
from nnclip.graph.losses import LOSSES

# The first that knows a tower's settings is its family; so is the first that can write a tower.
IMAGES: tuple[Family, ...] = (
    timm_vit.FAMILY,
    timm_convnext.FAMILY,
    timm_vitamin.FAMILY,
    RESNET,
    VIT,
)
TEXTS: tuple[Family, ...] = (OWN_TEXT,)
MODEL = {
    **dict.fromkeys(("embed_dim", "vision_cfg", "text_cfg", "quick_gelu"), SIZES),
    # tensors of the file, or their names
    **dict.fromkeys(("init_logit_scale", "init_logit_bias", "nonscalar_logit_scale"), SIZES),
    "custom_text": SIZES,
    "output_dict": SIZES,
}
SCALARS = {name: same(name) for name in ("logit_scale", "logit_bias")}
BELOW = "text."  # before the names of text towers of CustomTextCLIP
TABLE = {**openai.TABLE, **SCALARS}  # of models whose towers are OpenAI's


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
    image, text = _written(config)
    vision, words = image.settings_of(config.image), text.settings_of(config.text)
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


def _written(config: ClipConfig) -> tuple[Family, Family]:
    """The families that can write both towers; CheckpointError if open_clip has no such model."""
    if config.image_head or config.text_head:
        raise CheckpointError("found a head, but the code of open_clip knows none")
    image = next((f for f in IMAGES if f.settings_of(config.image) is not None), None)
    text = next((f for f in TEXTS if f.settings_of(config.text) is not None), None)
    for tower, family in ((config.image, image), (config.text, text)):
        if family is None:
            raise CheckpointError(
                f"found a {tower.kind}, which the code of open_clip does not know"
            )
    assert image is not None and text is not None
    return image, text


def _table(image: Family, text: Family, custom: bool) -> Table:
    return {**image.table, **(below(BELOW, text.table) if custom else text.table), **SCALARS}


def _table_in(source: Source) -> Table:
    custom = any(name.startswith(BELOW) for name in source.tensors)
    cfgs = _cfgs(source)
    image = VIT if cfgs is None else _family(IMAGES, cfgs[1])
    text = OWN_TEXT if cfgs is None else _family(TEXTS, cfgs[2])
    lacking = cfgs is not None and (cfgs[1].get("no_ln_pre") or cfgs[2].get("proj_bias"))
    if custom or lacking or text is not OWN_TEXT or image not in (VIT, RESNET):
        return _table(image, text, custom)
    return TABLE  # OpenAI's layout, of which all must be there


def _table_for(config: ClipConfig) -> Table:
    image, text = _written(config)
    return _table(image, text, image.custom or text.custom)


def _carried(source: Source, config: ClipConfig) -> dict[str, Any]:
    """The tokenizer, which the .h5 carries; CheckpointError if it does not fit the token table."""
    told = {k: v for k, v in describe(source).items() if k == "tokenizer"}
    config.text.tokenizer(told, open_clip_tokenizer.FILE)
    return told


DIALECT = Dialect(
    "open_clip",
    TABLE,
    openai.DROPPED,
    describe,
    settings_of,
    file="open_clip_model.safetensors",
    carried=_carried,
    table_in=_table_in,
    table_for=_table_for,
)
