"""SiglipModel of transformers: SigLIP, and the checkpoints of SigLIP 2 with one resolution.

Source: https://github.com/huggingface/transformers, models/siglip/modeling_siglip.py.
"""

from typing import Any

from nnclip.convert.dialect import Part, Settings, check_plain, unusual
from nnclip.convert.names import Table, led, same
from nnclip.convert.transformers_clip import (
    TOKENIZER,
    blocks_table,
    read_blocks,
    read_vision,
    written_blocks,
)
from nnclip.convert.transformers_models import Model, both, check_computed
from nnclip.convert.transformers_tokenizer import of_any
from nnclip.graph.config import TextConfig, VitConfig

DEFAULTS = ("gelu_pytorch_tanh", 1e-6)
POOL: Table = {
    "visual/attn_pool/probe": same("vision_model.head.probe"),
    "visual/attn_pool/in_proj_W": same("vision_model.head.attention.in_proj_weight"),
    "visual/attn_pool/in_proj_b": same("vision_model.head.attention.in_proj_bias"),
    **both("visual/attn_pool/out_proj", "vision_model.head.attention.out_proj"),
    **both("visual/attn_pool/ln", "vision_model.head.layernorm"),
    **both("visual/attn_pool/mlp/c_fc", "vision_model.head.mlp.fc1"),
    **both("visual/attn_pool/mlp/c_proj", "vision_model.head.mlp.fc2"),
}
VISION: Table = {
    "visual/positional_embedding": same("vision_model.embeddings.position_embedding.weight"),
    **both("visual/conv1", "vision_model.embeddings.patch_embedding"),
    **blocks_table("visual/", "vision_model."),
    **both("visual/ln_post", "vision_model.post_layernorm"),
    **POOL,
}
TEXT: Table = {
    "token_embedding/W": same("text_model.embeddings.token_embedding.weight"),
    "positional_embedding": same("text_model.embeddings.position_embedding.weight"),
    **blocks_table("", "text_model."),
    **both("ln_final", "text_model.final_layer_norm"),
    **both("text_projection", "text_model.head"),
}
SCALARS: Table = {name: led(name, 1) for name in ("logit_scale", "logit_bias")}
LOOK = {  # of the image tower
    "pool": "attention",
    "class_token": False,
    "placed": "all",
    "patch_bias": True,
    "norm_before": False,
    "projection": "none",
}
READ = {"causal": False, "pool": "last", "projection": "linear"}  # of the text tower


def read_image(cfg: Settings) -> dict[str, Any]:
    """Metadata of the image tower."""
    check_computed("vision_config", cfg, {"vision_use_head": (True,)})
    told = read_vision(cfg, *DEFAULTS)
    pool = {"image_pool": "attention", "image_pool_heads": told["image_heads"]}
    return {**told, **pool, "image_projection": "none"}


def read_text(cfg: Settings) -> dict[str, Any]:
    """Metadata of the text tower."""
    return {**read_blocks(cfg, 12, *DEFAULTS), "text_causal": False, "text_pool": "last"}


def is_image(tower: VitConfig, projection: str = "none") -> bool:
    """Whether SigLIP's image tower is such, but for its projection."""
    fits = _has(tower, {**LOOK, "projection": projection}, ("pool_heads",))
    return fits and tower.pool_heads == tower.blocks.heads


def is_text(tower: TextConfig) -> bool:
    """Whether SigLIP's text tower is such."""
    return _has(tower, READ, (*TOKENIZER, "pad_left"))


def _has(tower: Any, fields: dict[str, Any], own: tuple[str, ...]) -> bool:
    found = {name: getattr(tower, name) for name in fields}
    return found == fields and unusual(tower, (*fields, *own)) is None


def write_image(image: VitConfig) -> dict[str, Any]:
    """The settings of the image tower."""
    return {
        **written_blocks(image.blocks),
        "model_type": "siglip_vision_model",
        "image_size": image.resolution,
        "patch_size": image.patch,
    }


def write_text(text: TextConfig) -> dict[str, Any]:
    """The settings of the text tower."""
    check_plain(text, "transformers' SiglipModel", (*READ, *TOKENIZER, "pad_left"))
    return {
        **written_blocks(text.blocks),
        "model_type": "siglip_text_model",
        "max_position_embeddings": text.context,
        "vocab_size": text.vocabulary,
        "pad_token_id": text.pad,
    }


IMAGE = Part(
    VitConfig,
    "vision transformer with attention pooling",
    VISION,
    read=read_image,
    write=write_image,
    fits=is_image,
)
TEXT_PART = Part(
    TextConfig,
    "text transformer without a mask",
    TEXT,
    read=read_text,
    write=write_text,
    fits=is_text,
)
SIGLIP = Model(
    "siglip",
    "SiglipModel",
    (IMAGE,),
    (TEXT_PART,),
    scalars=SCALARS,
    processor="SiglipImageProcessor",
    tokenizer=of_any,
    embed=(("text_config", "projection_size"),),
)
