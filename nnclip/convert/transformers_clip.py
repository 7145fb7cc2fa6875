"""CLIPModel of transformers, and MetaClip2Model, whose texts end elsewhere.

Source: https://github.com/huggingface/transformers, models/clip/modeling_clip.py and
models/metaclip_2/modeling_metaclip_2.py.
"""

from dataclasses import replace
from typing import Any

from nnclip.convert.dialect import Part, Settings, check_plain, unusual, whole_number
from nnclip.convert.names import Table, in_blocks, same, split, turned
from nnclip.convert.transformers_models import Model, activation_of, both, written_activation
from nnclip.convert.transformers_tokenizer import of_any
from nnclip.graph.config import BlockConfig, TextConfig, VitConfig

LEGACY_END = 2  # config.json said so of all models once; the text's highest id is read then
BLOCK = {
    **{
        f"attn/in_proj_{ours}": split(*(f"self_attn.{one}_proj.{theirs}" for one in "qkv"))
        for ours, theirs in (("W", "weight"), ("b", "bias"))
    },
    **both("attn/out_proj", "self_attn.out_proj"),
    **both("ln_1", "layer_norm1"),
    **both("mlp/c_fc", "mlp.fc1"),
    **both("mlp/c_proj", "mlp.fc2"),
    **both("ln_2", "layer_norm2"),
}


def blocks_table(published: str, foreign: str, layers: str = "layers") -> Table:
    """The table of the blocks of one tower."""
    blocks = f"{published}transformer/resblocks/{{}}/", f"{foreign}encoder.{layers}.{{}}."
    return in_blocks(*blocks, BLOCK)


def vision_table(layers: str = "layers") -> Table:
    """The table of CLIP's image tower; `layers` is what stands before the numbers of blocks."""
    return {
        "visual/class_embedding": same("vision_model.embeddings.class_embedding"),
        "visual/positional_embedding": same("vision_model.embeddings.position_embedding.weight"),
        "visual/proj": turned("visual_projection.weight"),
        "visual/conv1/W": same("vision_model.embeddings.patch_embedding.weight"),
        **both("visual/ln_pre", "vision_model.pre_layrnorm"),  # their spelling
        **blocks_table("visual/", "vision_model.", layers),
        **both("visual/ln_post", "vision_model.post_layernorm"),
    }


VISION = vision_table()
TEXT: Table = {
    "token_embedding/W": same("text_model.embeddings.token_embedding.weight"),
    "positional_embedding": same("text_model.embeddings.position_embedding.weight"),
    **blocks_table("", "text_model."),
    **both("ln_final", "text_model.final_layer_norm"),
    "text_projection": turned("text_projection.weight"),
}
TOKENIZER = ("tokens", "pad", "clean")  # options of a text tower that its tokenizer has


def read_vision(cfg: Settings, activation: str = "quick_gelu", eps: float = 1e-5) -> dict[str, Any]:
    """Metadata of an image tower; the other arguments are what counts where nothing is said."""
    return {
        "activation": activation_of(cfg, activation),
        "image_heads": whole_number(cfg, "num_attention_heads", 12, 1),
        "layer_norm_eps": cfg.get("layer_norm_eps", eps),
    }


def read_blocks(
    cfg: Settings, heads: int, activation: str = "quick_gelu", eps: float = 1e-5
) -> dict[str, Any]:
    """Metadata of the blocks of a text tower; the others are what counts if nothing is said."""
    return {
        "text_activation": activation_of(cfg, activation),
        "text_heads": whole_number(cfg, "num_attention_heads", heads, 1),
        "text_layer_norm_eps": cfg.get("layer_norm_eps", eps),
    }


def _read_text(cfg: Settings) -> dict[str, Any]:
    rows = whole_number(cfg, "vocab_size", 49408, 1)
    end = whole_number(cfg, "eos_token_id", 49407)
    if end in (LEGACY_END, rows - 1):
        return read_blocks(cfg, 8)
    return {**read_blocks(cfg, 8), "text_pool": "eos", "text_eos": end}


def _read_metaclip_text(cfg: Settings) -> dict[str, Any]:
    end = whole_number(cfg, "eos_token_id", 49407)
    return {**read_blocks(cfg, 8), "text_pool": "eos", "text_eos": end}


def written_blocks(config: BlockConfig) -> dict[str, Any]:
    """The settings of the blocks of either side."""
    return {
        "hidden_act": written_activation(config),
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "layer_norm_eps": config.eps,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
    }


def vision_settings(image: VitConfig, kind: str) -> dict[str, Any]:
    """The settings of an image tower of this model_type."""
    return {
        **written_blocks(image.blocks),
        "model_type": kind,
        "image_size": image.resolution,
        "patch_size": image.patch,
    }


def written_vision(kind: str) -> Any:
    """What writes the settings of CLIP's image tower as this model_type."""

    def write(image: VitConfig) -> dict[str, Any]:
        check_plain(image, "transformers' CLIPModel")
        return vision_settings(image, kind)

    return write


def _write_text(text: TextConfig) -> dict[str, Any]:
    own = (*TOKENIZER, "pool", "eos") if text.eos != LEGACY_END else TOKENIZER
    check_plain(text, "transformers' CLIPModel", own)
    return text_settings(text, "clip_text_model")


def _write_metaclip_text(text: TextConfig) -> dict[str, Any]:
    return text_settings(text, "metaclip_2_text_model")


def text_settings(text: TextConfig, kind: str) -> dict[str, Any]:
    """The settings of a text tower of this model_type."""
    end = text.eos if text.pool == "eos" else text.vocabulary - 1
    return {
        **written_blocks(text.blocks),
        "model_type": kind,
        "max_position_embeddings": text.context,
        "vocab_size": text.vocabulary,
        "bos_token_id": max(end - 1, 0),
        "eos_token_id": end,
        **({"pad_token_id": text.pad} if text.tokens == "json" else {}),
    }


def _is_clip(text: TextConfig) -> bool:
    return text.pool in ("argmax", "eos") and unusual(text, (*TOKENIZER, "pool", "eos")) is None


IMAGE = Part(
    VitConfig,
    "vision transformer",
    VISION,
    read=read_vision,
    write=written_vision("clip_vision_model"),
    fits=lambda tower: unusual(tower) is None,
)
TEXT_PART = Part(
    TextConfig,
    "CLIP's text transformer",
    TEXT,
    read=_read_text,
    write=_write_text,
    # where texts end at 2 wherever that is, it is MetaCLIP's
    fits=lambda tower: _is_clip(tower) and (tower.pool, tower.eos) != ("eos", LEGACY_END),
)
METACLIP_IMAGE = replace(IMAGE, write=written_vision("metaclip_2_vision_model"))
METACLIP_TEXT = Part(
    TextConfig,
    "MetaCLIP 2's text transformer",
    TEXT,
    read=_read_metaclip_text,
    write=_write_metaclip_text,
    fits=lambda tower: _is_clip(tower) and tower.pool == "eos",
)
CLIP = Model("clip", "CLIPModel", (IMAGE,), (TEXT_PART,))
METACLIP_2 = Model(
    "metaclip_2", "MetaClip2Model", (METACLIP_IMAGE,), (METACLIP_TEXT,), tokenizer=of_any
)
