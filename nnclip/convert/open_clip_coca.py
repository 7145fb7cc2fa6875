"""CoCa in open_clip: a vision transformer read by queries, a text transformer with a class token.

Its decoder of captions is left out. What is written back is CoCa without it, which open_clip builds
as its CustomTextCLIP: the same features.

Source: Yu et al., CoCa: Contrastive Captioners (2022); open_clip's coca_model.py, transformer.py.
"""

import re
from dataclasses import replace
from typing import Any

from nnclip.convert import open_clip_own, open_clip_tokenizer, openai
from nnclip.convert.dialect import Settings, Source, whole_number
from nnclip.convert.families import FILE, SIZES, Family, check
from nnclip.convert.names import Table, same
from nnclip.errors import CheckpointError
from nnclip.graph.config import TextConfig, VitConfig

DECODER = "text_decoder."
DROPPED = re.escape(DECODER) + ".*"
HEADS = 8  # where vision_cfg does not say
POOL = "visual.attn_pool"
IMAGE_TABLE: Table = {
    **openai.VIT,
    "visual/attn_pool/query": same(f"{POOL}.query"),
    **{
        f"visual/attn_pool/{ours}/{one}": same(f"{POOL}.{theirs}.{word}")
        for ours, theirs in (("ln_q", "ln_q"), ("ln_k", "ln_k"), ("out_proj", "attn.out_proj"))
        for one, word in (("W", "weight"), ("b", "bias"))
    },
    **{f"visual/attn_pool/{one}_proj/W": same(f"{POOL}.attn.{one}_proj_weight") for one in "qkv"},
    # torch keeps the three as one where tokens are as wide as features
    "visual/attn_pool/in_proj_W": same(f"{POOL}.attn.in_proj_weight"),
    "visual/attn_pool/in_proj_b": same(f"{POOL}.attn.in_proj_bias"),
}
TEXT_TABLE: Table = {**open_clip_own.TEXT_TABLE, "class_embedding": same("cls_emb")}
VISION = {
    **open_clip_own.VISION,
    "attentional_pool": (True,),
    "pool_type": ("tok",),
    "final_ln_after_pool": SIZES,  # the norm comes after the queries
}
TEXT = {
    **open_clip_own.TEXT,
    "embed_cls": (True,),
    "pool_type": SIZES,  # the class token is read
}


def _describe_image(source: Source, model: Settings, cfg: Settings) -> dict[str, Any]:
    check("vision_cfg", cfg, VISION)
    plain = {k: v for k, v in cfg.items() if k not in ("attentional_pool", "final_ln_after_pool")}
    return {
        **open_clip_own.describe_vit(source, model, plain),
        "image_pool": "queries",
        "image_pool_heads": whole_number(cfg, "attn_pooler_heads", HEADS, least=1),
        "image_norm_after_pool": True,
    }


def _describe_text(source: Source, model: Settings, cfg: Settings) -> dict[str, Any]:
    check("text_cfg", cfg, TEXT)
    pad = open_clip_tokenizer.describe(source, cfg).get("text_pad", 0)
    if cfg.get("pad_id", 0) != pad:
        raise CheckpointError(
            f"{FILE}: text_cfg: found pad_id {cfg.get('pad_id', 0)!r}, expected {pad}, by which "
            "the tokenizer fills up texts"
        )
    plain = {k: v for k, v in cfg.items() if k not in ("embed_cls", "pool_type")}
    return {**open_clip_own.describe_text(source, model, plain), "text_pool": "class"}


def _image_settings(image: VitConfig) -> Settings | None:
    if image.pool != "queries" or not image.norm_after_pool:
        return None
    plain = replace(image, pool="class", pool_heads=0, pool_queries=0, norm_after_pool=False)
    told = open_clip_own.vit_settings(plain)
    if told is None:
        return None
    return {
        **told,
        "attentional_pool": True,
        "attn_pooler_queries": image.pool_queries,
        "attn_pooler_heads": image.pool_heads,
    }


def _text_settings(text: TextConfig) -> Settings | None:
    if text.pool != "class":
        return None
    told = open_clip_own.text_settings(replace(text, pool="argmax"))
    if told is None:
        return None
    return {**told, "embed_cls": True, **({"pad_id": text.pad} if text.pad else {})}


IMAGE_FAMILY = Family(
    VitConfig,
    lambda cfg: bool(cfg.get("attentional_pool")) and not cfg.get("timm_model_name"),
    IMAGE_TABLE,
    _describe_image,
    _image_settings,
)
TEXT_FAMILY = Family(
    TextConfig,
    lambda cfg: bool(cfg.get("embed_cls")) and not cfg.get("hf_model_name"),
    TEXT_TABLE,
    _describe_text,
    _text_settings,
    custom=True,
)
