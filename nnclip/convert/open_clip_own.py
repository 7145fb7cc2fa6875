"""open_clip's own towers: CLIP's vision transformer, ResNet and text transformer, with options.

Source: https://github.com/mlfoundations/open_clip, src/open_clip/model.py and transformer.py.
"""

import math
from typing import Any

from nnclip.convert import openai
from nnclip.convert.dialect import Settings, Source, whole_number
from nnclip.convert.families import FILE, SIZES, Family, activation_of, check, eps_of
from nnclip.convert.names import same
from nnclip.errors import CheckpointError
from nnclip.graph.config import BlockConfig, ClipResNetConfig, TextConfig, VitConfig
from nnclip.graph.reading import option_metadata

ATTENTION = {  # key -> the values that nnclip computes, the default first
    "ls_init_value": (None,),
    "block_type": (None, "default"),
    "qk_norm": (False,),
    "scaled_cosine_attn": (False,),
    "scale_heads": (False,),
    "scale_attn_inner": (False,),
    "scale_attn": (False,),
    "scale_fc": (False,),
    "output_tokens": SIZES,  # more output, the same features
    "act_kwargs": SIZES,
    "norm_kwargs": SIZES,
    **dict.fromkeys(("layers", "width", "mlp_ratio"), SIZES),
}
POOLS = {"tok": "class", "avg": "mean"}  # pool_type of a vision transformer -> pool
VISION = {
    **ATTENTION,
    "timm_model_name": (None, ""),
    "attentional_pool": (False,),
    "no_ln_pre": (False, True),  # tensors tell it
    "pool_type": tuple(POOLS),
    "final_ln_after_pool": (False, True),
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
    "tokenizer_mode": (None,),
    "embed_cls": (False,),
    "final_ln_after_pool": (False,),
    "no_causal_mask": (False, True),
    "pool_type": ("argmax", "last", "eos"),
    "proj_bias": (False, True),
    "proj_type": ("linear", "none"),
    **dict.fromkeys(("context_length", "vocab_size", "heads", "tokenizer_kwargs"), SIZES),
    **dict.fromkeys(("hf_tokenizer_name", "pad_id", "eos_id"), SIZES),
    # of what is not there
    **dict.fromkeys(("hf_model_pretrained", "hf_proj_type", "hf_pooler_type"), SIZES),
}
TEXT_TABLE = {
    **openai.TEXT,
    "text_projection/W": same("text_projection.weight"),
    "text_projection/b": same("text_projection.bias"),
}


def describe_vit(source: Source, model: Settings, cfg: Settings) -> dict[str, Any]:
    """Metadata of open_clip's own vision transformer."""
    if name := cfg.get("timm_model_name"):
        raise CheckpointError(
            f"{FILE}: found the image tower {name} of timm, which nnclip does not know; "
            "docs/models.md lists those that it does"
        )
    check("vision_cfg", cfg, VISION)
    if cfg.get("no_ln_pre", False) == ("visual.ln_pre.weight" in source.tensors):
        raise CheckpointError(
            f"tensor visual.ln_pre.weight: found {'it' if cfg.get('no_ln_pre') else 'none'}, but "
            f"{FILE} says no_ln_pre {bool(cfg.get('no_ln_pre', False))}"
        )
    return {
        "activation": activation_of(bool(model.get("quick_gelu", False)), cfg),
        "image_heads": whole_number(cfg, "width", 768)
        // whole_number(cfg, "head_width", 64, least=1),
        "layer_norm_eps": eps_of(cfg),
        "image_pool": POOLS[cfg.get("pool_type", "tok")],
        "image_norm_after_pool": bool(cfg.get("final_ln_after_pool", False)),
    }


def _heads(cfg: Settings, width: int) -> int:
    return width // whole_number(cfg, "head_width", 64, least=1)


def _describe_resnet(source: Source, model: Settings, cfg: Settings) -> dict[str, Any]:
    check("vision_cfg", cfg, VISION)
    return {
        "image_heads": whole_number(cfg, "width", 64)
        * 32
        // whole_number(cfg, "head_width", 64, least=1)
    }


def describe_text(source: Source, model: Settings, cfg: Settings) -> dict[str, Any]:
    """Metadata of open_clip's own text transformer, without its tokenizer."""
    if name := cfg.get("hf_model_name"):
        raise CheckpointError(
            f"{FILE}: found the text encoder {name} of transformers with hf_proj_type "
            f"{cfg.get('hf_proj_type', 'mlp')!r}, which nnclip does not know; docs/models.md lists "
            "those that it does"
        )
    check("text_cfg", cfg, TEXT)
    told = {
        "text_activation": activation_of(bool(model.get("quick_gelu", False)), cfg),
        "text_heads": cfg.get("heads", 8),
        "text_layer_norm_eps": eps_of(cfg),
        "text_causal": not cfg.get("no_causal_mask", False),
        "text_pool": cfg.get("pool_type", "argmax"),
    }
    if told["text_pool"] == "eos":
        told["text_eos"] = cfg.get("eos_id", 2)
    if cfg.get("proj_type", "linear") == "none":
        told["text_projection"] = "none"
    return told


def _blocks(config: BlockConfig) -> dict[str, Any]:
    ratio = config.hidden / config.width
    if int(config.width * ratio) < config.hidden:  # open_clip rounds down
        ratio = math.nextafter(ratio, math.inf)
    settings: dict[str, Any] = {"layers": config.layers, "width": config.width, "mlp_ratio": ratio}
    if config.eps != 1e-5:
        settings["norm_kwargs"] = {"eps": config.eps}
    if config.activation == "gelu_tanh":
        settings["act_kwargs"] = {"approximate": "tanh"}
    return settings


def _written(config: BlockConfig) -> bool:
    """Whether open_clip's own blocks are such; tensors that they lack are refused by name."""
    return config.activation in ("quick_gelu", "gelu", "gelu_tanh") and not option_metadata(config)


def vit_settings(image: VitConfig) -> Settings | None:
    """The `vision_cfg` of CLIP's vision transformer; None if open_clip has no such tower."""
    if not _written(image.blocks) or image.rope != "none":
        return None
    fields = (image.projection, image.class_token, image.placed, image.patch_bias)
    if fields != ("matrix", True, "all", False) or image.pool not in POOLS.values():
        return None
    told = {
        **_blocks(image.blocks),
        "head_width": image.blocks.width // image.blocks.heads,
        "image_size": image.resolution,
        "patch_size": image.patch,
    }
    if image.pool == "mean":
        told |= {"pool_type": "avg", "final_ln_after_pool": image.norm_after_pool}
    return told if image.norm_before else {**told, "no_ln_pre": True}


def _resnet_settings(image: ClipResNetConfig) -> Settings:
    return {
        "layers": list(image.layers),
        "width": image.width,
        "head_width": image.channels // image.heads,
        "image_size": image.resolution,
        "patch_size": None,
    }


def text_settings(text: TextConfig) -> Settings | None:
    """The `text_cfg` of CLIP's text transformer; None if open_clip has no such blocks."""
    if not _written(text.blocks) or text.pool == "class":
        return None
    told = {
        **_blocks(text.blocks),
        "heads": text.blocks.heads,
        "context_length": text.context,
        "vocab_size": text.vocabulary,
    }
    if not text.causal:
        told["no_causal_mask"] = True
    if text.pool != "argmax":
        told["pool_type"] = text.pool
    if text.pool == "eos":
        told["eos_id"] = text.eos
    if text.projection == "linear":
        told["proj_bias"] = True
    return {**told, "proj_type": "none"} if text.projection == "none" else told


def check_quick(image: Any, text: Any) -> bool:
    """Whether both towers have QuickGELU; CheckpointError if one of them alone has it."""
    towers = (one for one in (image, text) if hasattr(one, "blocks"))
    found = {tower.blocks.activation for tower in towers}
    if "quick_gelu" in found and len(found) > 1:
        raise CheckpointError(
            f"activation: found {' and '.join(sorted(found))}, but open_clip's code knows "
            "quick_gelu for both towers only"
        )
    return "quick_gelu" in found


VIT = Family(VitConfig, lambda cfg: not _is_resnet(cfg), openai.VIT, describe_vit, vit_settings)
RESNET = Family(
    ClipResNetConfig, lambda cfg: _is_resnet(cfg), openai.RESNET, _describe_resnet, _resnet_settings
)
OWN_TEXT = Family(TextConfig, lambda cfg: True, TEXT_TABLE, describe_text, text_settings)


def _is_resnet(cfg: Settings) -> bool:
    return isinstance(cfg.get("layers"), list | tuple)
