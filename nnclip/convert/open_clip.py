"""open_clip's dialect: OpenAI's names, with the settings in a JSON file.

Source: https://github.com/mlfoundations/open_clip, src/open_clip/model.py and factory.py.
"""

import math
from collections.abc import Mapping
from typing import Any

from nnclip.convert import openai
from nnclip.convert.dialect import Dialect, Settings, Source, one_value, own_towers
from nnclip.convert.names import same
from nnclip.convert.open_clip_images import FILE, read_preprocess, write_preprocess
from nnclip.errors import CheckpointError
from nnclip.graph.config import BlockConfig, ClipConfig, ClipResNetConfig, VitConfig
from nnclip.graph.losses import LOSSES

SIZES: tuple[Any, ...] = ()  # any value: shapes or the other settings tell it
ATTENTION = {  # key -> the values that nnclip computes, the default first
    "ls_init_value": (None,),
    "block_type": (None, "default"),
    "qk_norm": (False,),
    "scaled_cosine_attn": (False,),
    "scale_heads": (False,),
    "scale_attn_inner": (False,),
    "scale_attn": (False,),
    "scale_fc": (False,),
    "final_ln_after_pool": (False,),
    "output_tokens": SIZES,  # more output, the same features
    "act_kwargs": SIZES,
    "norm_kwargs": SIZES,
    **dict.fromkeys(("layers", "width", "mlp_ratio"), SIZES),
}
VISION = {
    **ATTENTION,
    "timm_model_name": (None,),
    "attentional_pool": (False,),
    "no_ln_pre": (False,),
    "pool_type": ("tok",),
    "pos_embed_type": ("learnable", "sin_cos_2d"),  # a tensor of the file in both cases
    **dict.fromkeys(("head_width", "patch_size", "image_size"), SIZES),
    # of training, and of what is not there
    **dict.fromkeys(("patch_dropout", "attn_pooler_queries", "attn_pooler_heads"), SIZES),
    **dict.fromkeys(("timm_model_pretrained", "timm_pool", "timm_proj", "timm_proj_bias"), SIZES),
    **dict.fromkeys(("timm_drop", "timm_drop_path"), SIZES),
}
TEXT = {
    **ATTENTION,
    "hf_model_name": (None, ""),
    "hf_tokenizer_name": (None, ""),
    "tokenizer_mode": (None,),
    "embed_cls": (False,),
    "no_causal_mask": (False,),
    "pool_type": ("argmax",),
    "proj_bias": (False,),
    "proj_type": ("linear",),
    **dict.fromkeys(("context_length", "vocab_size", "heads", "tokenizer_kwargs"), SIZES),
    # of what is not there
    **dict.fromkeys(("pad_id", "eos_id"), SIZES),
    **dict.fromkeys(("hf_model_pretrained", "hf_proj_type", "hf_pooler_type"), SIZES),
}
MODEL = {
    **dict.fromkeys(("embed_dim", "vision_cfg", "text_cfg", "quick_gelu"), SIZES),
    # tensors of the file, or their names
    **dict.fromkeys(("init_logit_scale", "init_logit_bias", "nonscalar_logit_scale"), SIZES),
    "custom_text": SIZES,
    "output_dict": SIZES,
}
TOKENIZER = {"clean": ("lower",)}  # of CLIP's own tokenizer
NORM = {"eps": SIZES}


def describe(source: Source) -> dict[str, Any]:
    """Activation, heads, epsilon and preprocessing from open_clip_config.json, where it is there.

    Raises:
        CheckpointError: a setting that is not known, or not computed here.
    """
    whole = source.settings.get(FILE)
    if whole is None:
        return {}
    model, images = whole.get("model_cfg", whole), whole.get("preprocess_cfg") or {}
    vision, text = dict(model.get("vision_cfg", {})), dict(model.get("text_cfg", {}))
    _check("model_cfg", model, MODEL)
    _check("vision_cfg", vision, VISION)
    _check("text_cfg", text, TEXT)
    _check("tokenizer_kwargs", text.get("tokenizer_kwargs") or {}, TOKENIZER)
    resnet = isinstance(vision.get("layers"), list)
    channels = vision.get("width", 768) * (32 if resnet else 1)  # of what has heads
    quick = bool(model.get("quick_gelu", False))
    tower = text if resnet else vision  # a ResNet has neither, and the file tells one for both
    return {
        "activation": _activation(quick, tower),
        "text_activation": _activation(quick, text),
        "image_heads": channels // vision.get("head_width", 64),
        "text_heads": text.get("heads", 8),
        "layer_norm_eps": _eps(tower),
        "text_layer_norm_eps": _eps(text),
        **read_preprocess(images, vision.get("image_size", 224)).metadata(),
    }


def _check(where: str, told: Settings, known: Mapping[str, tuple[Any, ...]]) -> None:
    for key, value in told.items():
        if key not in known:
            raise CheckpointError(f"{FILE}: {where}: found the key {key!r}, which is not known")
        if known[key] and value not in known[key]:
            raise CheckpointError(
                f"{FILE}: {where}: found {key} {value!r}, expected {known[key][0]!r}"
            )


def _activation(quick: bool, cfg: Settings) -> str:
    """Of the MLPs, by the arguments that torch's GELU takes."""
    told = cfg.get("act_kwargs") or {}
    if not told:
        return "quick_gelu" if quick else "gelu"
    names = {"none": "gelu", "tanh": "gelu_tanh"}
    if quick or set(told) != {"approximate"} or told["approximate"] not in names:
        raise CheckpointError(
            f"{FILE}: act_kwargs: found {dict(told)}, expected approximate as none or tanh, "
            "without quick_gelu"
        )
    return names[told["approximate"]]


def _eps(cfg: Settings) -> float:
    told = cfg.get("norm_kwargs") or {}
    _check("norm_kwargs", told, NORM)
    return float(told.get("eps", 1e-5))


def _blocks(config: BlockConfig) -> Settings:
    ratio = config.hidden / config.width
    if int(config.width * ratio) < config.hidden:  # open_clip rounds down
        ratio = math.nextafter(ratio, math.inf)
    settings: dict[str, Any] = {"layers": config.layers, "width": config.width, "mlp_ratio": ratio}
    if config.eps != 1e-5:
        settings["norm_kwargs"] = {"eps": config.eps}
    return settings


def _vision(image: VitConfig | ClipResNetConfig) -> Settings:
    if isinstance(image, ClipResNetConfig):
        return {
            "layers": list(image.layers),
            "width": image.width,
            "head_width": image.channels // image.heads,
            "image_size": image.resolution,
            "patch_size": None,
        }
    return {
        **_blocks(image.blocks),
        "head_width": image.blocks.width // image.blocks.heads,
        "image_size": image.resolution,
        "patch_size": image.patch,
    }


def settings_of(config: ClipConfig) -> dict[str, Settings]:
    """The file that open_clip's `local-dir:` reads."""
    image, text = own_towers(config, "open_clip")
    activation = text.blocks.activation
    if not isinstance(image, ClipResNetConfig):
        one_value("activation", image.blocks.activation, activation)
    model = {
        "embed_dim": config.embed,
        "quick_gelu": activation == "quick_gelu",
        "vision_cfg": _vision(image),
        "text_cfg": {
            **_blocks(text.blocks),
            "heads": text.blocks.heads,
            "context_length": text.context,
            "vocab_size": text.vocabulary,
        },
    }
    if "logit_bias" in LOSSES[config.loss].scalars:
        model["init_logit_bias"] = LOSSES[config.loss].scalars["logit_bias"]  # makes the tensor
    return {FILE: {"model_cfg": model, "preprocess_cfg": write_preprocess(image.preprocess)}}


DIALECT = Dialect(
    "open_clip",
    {**openai.TABLE, "logit_bias": same("logit_bias")},
    openai.DROPPED,
    describe,
    settings_of,
    file="open_clip_model.safetensors",
)
