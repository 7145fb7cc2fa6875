"""SiglipModel and Siglip2Model of transformers.

The first runs SigLIP, and the checkpoints of SigLIP 2 with one resolution; the second runs NaFlex,
whose images keep their shape.

Source: https://github.com/huggingface/transformers, models/siglip/modeling_siglip.py and
models/siglip2/modeling_siglip2.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from nnclip.convert.dialect import Part, Settings, check_plain, unusual
from nnclip.convert.names import Table, led, same
from nnclip.convert.transformers_clip import (
    TOKENIZER,
    blocks_table,
    read_blocks,
    read_vision,
    written_blocks,
)
from nnclip.convert.transformers_images import keeps_shape
from nnclip.convert.transformers_models import Model, both, check_computed
from nnclip.convert.transformers_tokenizer import of_any
from nnclip.graph.config import TextConfig, VitConfig
from nnclip.graph.naflex import NaflexConfig
from nnclip.image.packing import repacked, unpacked

GRIDS = ("pixel_values", "pixel_attention_mask", "spatial_shapes")
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
NAFLEX: Table = {
    "visual/positional_embedding": same("vision_model.embeddings.position_embedding.weight"),
    **both("visual/patch_embedding", "vision_model.embeddings.patch_embedding"),
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


def read_naflex(cfg: Settings) -> dict[str, Any]:
    """Metadata of the image tower whose images keep their shape."""
    check_computed("vision_config", cfg, {"vision_use_head": (True,), "num_channels": (3,)})
    return read_vision(cfg, *DEFAULTS)


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


def write_naflex(image: NaflexConfig) -> dict[str, Any]:
    """The settings of the image tower whose images keep their shape."""
    return {
        **written_blocks(image.blocks),
        "model_type": "siglip2_vision_model",
        "num_patches": image.grid**2,
        "patch_size": image.stride,
    }


def write_text_2(text: TextConfig) -> dict[str, Any]:
    """The settings of the text tower beside it."""
    return {**write_text(text), "model_type": "siglip2_text_model"}


def of_images(model: Any, images_N3RR: np.ndarray) -> dict[str, Any]:
    """What transformers' image tower takes of prepared images."""
    import torch

    cfg = getattr(model.config, "vision_config", model.config)
    if not keeps_shape({"model_type": cfg.model_type}):
        return {"pixel_values": torch.from_numpy(images_N3RR)}
    cells = (images_N3RR.shape[-1] // cfg.patch_size) ** 2 - 1
    arrays = unpacked(images_N3RR, cfg.patch_size, cells)
    return {name: torch.from_numpy(array) for name, array in zip(GRIDS, arrays, strict=True)}


def preparing(processor: Any) -> Callable[[Image.Image], np.ndarray]:
    """How an image processor of transformers prepares one image, (3, R, R) float32."""

    def told(image: Image.Image) -> Mapping[str, np.ndarray]:
        found: Mapping[str, np.ndarray] = processor(image, return_tensors="np")
        return found

    def prepare(image: Image.Image) -> np.ndarray:
        found = told(image)
        if GRIDS[2] not in found:
            return found["pixel_values"][0]
        side = processor.patch_size
        black, white = (told(Image.new("RGB", (side, side), c)) for c in ("black", "white"))
        patches, grid = found["pixel_values"][0], found[GRIDS[2]][0]
        return repacked(patches, grid, *(one["pixel_values"][0, 0] for one in (black, white)))

    return prepare


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
NAFLEX_IMAGE = Part(
    NaflexConfig,
    "vision transformer for images of any shape",
    NAFLEX,
    read=read_naflex,
    write=write_naflex,
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
SIGLIP_2 = Model(
    "siglip2",
    "Siglip2Model",
    (NAFLEX_IMAGE,),
    (replace(TEXT_PART, write=write_text_2),),
    scalars=SCALARS,
    processor="Siglip2ImageProcessor",
    tokenizer=of_any,
    embed=SIGLIP.embed,
)
