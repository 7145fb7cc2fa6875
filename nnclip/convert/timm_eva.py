"""timm's `Eva` as open_clip's image towers: EVA01, EVA02 and Perception Encoder.

Source: https://github.com/huggingface/pytorch-image-models, timm/models/eva.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnclip.convert.dialect import Settings, Source
from nnclip.convert.families import Family, check
from nnclip.convert.names import ZEROS, Table, in_blocks, same, split
from nnclip.convert.timm_vit import AROUND, BLOCK, POOL, POOLS, TIMM, TRUNK
from nnclip.graph.config import VitConfig

ATTENTION = "transformer/resblocks/{}/attn"
MLP = "transformer/resblocks/{}/mlp"
FUSED = BLOCK | {  # without a bias of keys
    f"{ATTENTION}/in_proj_b": split("blocks.{}.attn.q_bias", ZEROS, "blocks.{}.attn.v_bias"),
}
GATED = BLOCK | {  # EVA02's, without one too
    f"{ATTENTION}/in_proj_W": split(
        "blocks.{}.attn.q_proj.weight",
        "blocks.{}.attn.k_proj.weight",
        "blocks.{}.attn.v_proj.weight",
    ),
    f"{ATTENTION}/in_proj_b": split(
        "blocks.{}.attn.q_proj.bias", ZEROS, "blocks.{}.attn.v_proj.bias"
    ),
    f"{ATTENTION}/ln/W": same("blocks.{}.attn.norm.weight"),
    f"{ATTENTION}/ln/b": same("blocks.{}.attn.norm.bias"),
    f"{MLP}/c_gate/W": same("blocks.{}.mlp.fc1_g.weight"),
    f"{MLP}/c_gate/b": same("blocks.{}.mlp.fc1_g.bias"),
    f"{MLP}/c_fc/W": same("blocks.{}.mlp.fc1_x.weight"),
    f"{MLP}/c_fc/b": same("blocks.{}.mlp.fc1_x.bias"),
    f"{MLP}/ln_hidden/W": same("blocks.{}.mlp.norm.weight"),
    f"{MLP}/ln_hidden/b": same("blocks.{}.mlp.norm.bias"),
}


@dataclass(frozen=True)
class Named:
    """What a timm name stands for.

    Attributes:
        name: without the resolution at its end.
        resolutions: those that it comes with; timm takes no other.
        width: of its tokens.
        told: what its metadata says beside COMMON and how images are prepared.
    """

    name: str
    resolutions: tuple[int, ...]
    width: int
    told: Mapping[str, Any]


EVA01 = (
    Named(
        "eva_giant_patch14",
        (224, 336, 560),
        1408,
        {"image_heads": 16, "image_key_bias": False},
    ),
    Named(
        "eva02_enormous_patch14_clip",
        (224,),
        1792,
        {"image_heads": 16, "image_key_bias": False, "image_post_norm": True},
    ),
)


def _eva02(name: str, resolutions: tuple[int, ...], width: int, heads: int) -> Named:
    told = {
        "activation": "silu",
        "image_heads": heads,
        "image_key_bias": False,
        "image_rope": "yx",
        "image_rope_reference": 16,
    }
    return Named(f"eva02_{name}_clip", resolutions, width, told)


EVA02 = (
    _eva02("base_patch16", (224,), 768, 12),
    _eva02("large_patch14", (224, 336), 1024, 16),
)


def _perception(
    name: str, resolution: int, width: int, heads: int, reference: int, offset: int = 1
) -> Named:
    told: dict[str, Any] = {
        "image_heads": heads,
        "layer_norm_eps": 1e-5,
        "image_pool": "attention",
        "image_pool_heads": 8,
        "image_rope": "xy",
        "image_rope_reference": reference,
    }
    if offset:
        told["image_rope_offset"] = offset
    return Named(f"vit_pe_core_{name}", (resolution,), width, told)


PERCEPTION = (
    _perception("tiny_patch16", 384, 192, 3, 24),
    _perception("small_patch16", 384, 384, 6, 24),
    _perception("base_patch16", 224, 768, 12, 14),
    _perception("large_patch14", 336, 1024, 16, 24),
    _perception("gigantic_patch14", 448, 1536, 16, 32, 0),
)
COMMON = {"activation": "gelu", "layer_norm_eps": 1e-6}  # unless told


def _family(names: tuple[Named, ...], blocks: Table) -> Family:
    """Towers of some names, whose blocks have the same tensors."""
    known = {f"{one.name}_{pixels}": one for one in names for pixels in one.resolutions}

    def named(cfg: Settings) -> Named | None:
        return known.get(str(cfg.get("timm_model_name") or ""))

    def describe(source: Source, model: Settings, cfg: Settings) -> dict[str, Any]:
        found = named(cfg)
        assert found is not None
        told = {**COMMON, **found.told}
        pool = POOLS[told.get("image_pool", "class")]
        check("vision_cfg", cfg, {**TIMM, "timm_pool": (pool,), "timm_proj": (None, "")})
        return told

    def settings_of(image: VitConfig) -> Settings | None:
        if image.projection != "linear":
            return None
        name = next((name for name, one in known.items() if _fits(name, one, image)), None)
        if name is None:
            return None
        return {
            "timm_model_name": name,
            "image_size": image.resolution,
            "timm_pool": POOLS[image.pool],
            "timm_proj": None,
        }

    table = {**AROUND, **in_blocks("visual/", TRUNK, blocks), **POOL}
    return Family(
        VitConfig, lambda cfg: named(cfg) is not None, table, describe, settings_of, custom=True
    )


def _fits(name: str, named: Named, image: VitConfig) -> bool:
    """Whether a tower is what the name stands for."""
    prepared = image.preprocess.metadata()
    found = {key: value for key, value in image.metadata().items() if key not in prepared}
    sizes = name.endswith(f"_{image.resolution}") and f"_patch{image.patch}_" in name
    return sizes and image.blocks.width == named.width and found == {**COMMON, **named.told}


FAMILIES = (
    _family(EVA01, FUSED),
    _family(EVA02, GATED),
    _family(PERCEPTION, BLOCK),
)
