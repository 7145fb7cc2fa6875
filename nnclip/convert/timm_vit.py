"""timm's vision transformers as open_clip's image towers: SigLIP, SigLIP 2, MobileCLIP2-L.

Shapes tell all of such a tower but what its timm name stands for: heads, epsilon, activation, pool.

Source: https://github.com/huggingface/pytorch-image-models, timm/models/vision_transformer.py.
"""

import re
from dataclasses import dataclass
from typing import Any

from nnclip.convert.dialect import Settings, Source
from nnclip.convert.families import SIZES, Family, check
from nnclip.convert.folding import Rules, conv_and_norm, fold_by, not_unfolded
from nnclip.convert.names import Table, in_blocks, led, same, split
from nnclip.graph.config import VitConfig
from nnclip.graph.reading import option_metadata
from nnclip.graph.stems import PatchesStem

TRUNK = "visual.trunk."
BLOCK = {
    "transformer/resblocks/{}/attn/in_proj_W": same("blocks.{}.attn.qkv.weight"),
    "transformer/resblocks/{}/attn/in_proj_b": same("blocks.{}.attn.qkv.bias"),
    "transformer/resblocks/{}/attn/out_proj/W": same("blocks.{}.attn.proj.weight"),
    "transformer/resblocks/{}/attn/out_proj/b": same("blocks.{}.attn.proj.bias"),
    "transformer/resblocks/{}/ln_1/W": same("blocks.{}.norm1.weight"),
    "transformer/resblocks/{}/ln_1/b": same("blocks.{}.norm1.bias"),
    "transformer/resblocks/{}/mlp/c_fc/W": same("blocks.{}.mlp.fc1.weight"),
    "transformer/resblocks/{}/mlp/c_fc/b": same("blocks.{}.mlp.fc1.bias"),
    "transformer/resblocks/{}/mlp/c_proj/W": same("blocks.{}.mlp.fc2.weight"),
    "transformer/resblocks/{}/mlp/c_proj/b": same("blocks.{}.mlp.fc2.bias"),
    "transformer/resblocks/{}/ln_2/W": same("blocks.{}.norm2.weight"),
    "transformer/resblocks/{}/ln_2/b": same("blocks.{}.norm2.bias"),
}
POOL = {
    "visual/attn_pool/probe": same(f"{TRUNK}attn_pool.latent"),
    "visual/attn_pool/in_proj_W": split(
        f"{TRUNK}attn_pool.q.weight", f"{TRUNK}attn_pool.kv.weight", shares=(1, 2)
    ),
    "visual/attn_pool/in_proj_b": split(
        f"{TRUNK}attn_pool.q.bias", f"{TRUNK}attn_pool.kv.bias", shares=(1, 2)
    ),
    "visual/attn_pool/out_proj/W": same(f"{TRUNK}attn_pool.proj.weight"),
    "visual/attn_pool/out_proj/b": same(f"{TRUNK}attn_pool.proj.bias"),
    "visual/attn_pool/ln/W": same(f"{TRUNK}attn_pool.norm.weight"),
    "visual/attn_pool/ln/b": same(f"{TRUNK}attn_pool.norm.bias"),
    "visual/attn_pool/mlp/c_fc/W": same(f"{TRUNK}attn_pool.mlp.fc1.weight"),
    "visual/attn_pool/mlp/c_fc/b": same(f"{TRUNK}attn_pool.mlp.fc1.bias"),
    "visual/attn_pool/mlp/c_proj/W": same(f"{TRUNK}attn_pool.mlp.fc2.weight"),
    "visual/attn_pool/mlp/c_proj/b": same(f"{TRUNK}attn_pool.mlp.fc2.bias"),
}
AROUND = {
    "visual/class_embedding": led(f"{TRUNK}cls_token", 2),
    "visual/positional_embedding": led(f"{TRUNK}pos_embed", 1),
    "visual/conv1/W": same(f"{TRUNK}patch_embed.proj.weight"),
    "visual/conv1/b": same(f"{TRUNK}patch_embed.proj.bias"),
    "visual/ln_pre/W": same(f"{TRUNK}norm_pre.weight"),
    "visual/ln_pre/b": same(f"{TRUNK}norm_pre.bias"),
    "visual/ln_post/W": same(f"{TRUNK}norm.weight"),
    "visual/ln_post/b": same(f"{TRUNK}norm.bias"),
    "visual/head/W": same(f"{TRUNK}head.weight"),
    "visual/head/b": same(f"{TRUNK}head.bias"),
}
STEM = {  # of MobileCLIP-B, folded
    f"visual/stem/{{}}/{ours}": same(f"{TRUNK}patch_embed.backbone.{{}}.conv.{theirs}")
    for ours, theirs in (("W", "weight"), ("b", "bias"))
}
TABLE: Table = {**AROUND, **STEM, **in_blocks("visual/", TRUNK, BLOCK), **POOL}
FOLDED: Rules = (
    (rf"({re.escape(TRUNK)}patch_embed\.backbone\.[01])\.(?:conv|bn)\..+", conv_and_norm),
)
TIMM = {  # of open_clip's TimmModel: sizes, and what is not there after training
    **dict.fromkeys(("timm_model_name", "image_size", "timm_model_pretrained"), SIZES),
    **dict.fromkeys(("timm_drop", "timm_drop_path"), SIZES),
}


@dataclass(frozen=True)
class Named:
    """What a timm name stands for."""

    pattern: str
    heads: int
    activation: str = "gelu"
    eps: float = 1e-6
    pool: str = "attention"


# The first whose pattern is the beginning of the name counts.
NAMES = (
    Named("vit_base_patch32_siglip", 12, "gelu_tanh"),
    Named("vit_base_patch16_siglip", 12),
    Named("vit_large_patch16_siglip_512", 16, "gelu_tanh"),
    Named("vit_large_patch16_siglip", 16),
    Named("vit_so400m_patch14_siglip", 16),
    Named("vit_so400m_patch16_siglip", 16, "gelu_tanh"),
    Named("vit_giantopt_patch16_siglip", 16, "gelu_tanh"),
    Named("vit_large_patch14_clip_224", 16, eps=1e-5, pool="class"),
    Named("vit_base_mci_224", 12, pool="class"),
)
POOLS = {"attention": "map", "class": "token"}  # pool -> timm_pool


def _named(cfg: Settings) -> Named | None:
    name = str(cfg.get("timm_model_name") or "")
    return next((one for one in NAMES if re.match(one.pattern + r"(_|$)", name)), None)


def describe(source: Source, model: Settings, cfg: Settings) -> dict[str, Any]:
    """Heads, activation, epsilon and pool by the timm name."""
    named = _named(cfg)
    assert named is not None
    linear = f"{TRUNK}head.weight" in source.tensors
    known = {"timm_pool": (POOLS[named.pool],), "timm_proj": (None, "") if linear else ("none",)}
    check("vision_cfg", cfg, {**TIMM, **known})
    told: dict[str, Any] = {
        "activation": named.activation,
        "image_heads": named.heads,
        "layer_norm_eps": named.eps,
        "image_pool": named.pool,
    }
    if named.pool == "attention":
        told["image_pool_heads"] = named.heads
    return told if linear else {**told, "image_projection": "none"}


def settings_of(image: VitConfig) -> Settings | None:
    """The `vision_cfg` of a tower that has a timm name; None if it has none."""
    if image.projection == "matrix":
        return None
    if image.rope != "none" or option_metadata(image.blocks):
        return None  # of another family
    if isinstance(image.stem, PatchesStem):
        raise not_unfolded(image.kind)
    widths = {768: "base", 1024: "large", 1152: "so400m", 1536: "giantopt"}
    if image.pool == "attention":
        size = f"{widths.get(image.blocks.width)}_patch{image.patch}_siglip"
        name = f"vit_{size}_{image.resolution}"
    else:
        name = "vit_large_patch14_clip_224"
    told = {"timm_model_name": name, "image_size": image.resolution}
    named = _named(told)
    found = (image.blocks.heads, image.blocks.activation, image.blocks.eps, image.pool)
    if named is None or found != (named.heads, named.activation, named.eps, named.pool):
        return None
    linear = image.projection == "linear"
    return {**told, "timm_pool": POOLS[image.pool], "timm_proj": None if linear else "none"}


FAMILY = Family(
    VitConfig,
    lambda cfg: _named(cfg) is not None,
    TABLE,
    describe,
    settings_of,
    custom=True,
    fold=lambda tensors: fold_by(FOLDED, tensors, TRUNK),
)
