"""timm's ViTamin as open_clip's image tower: a vision transformer after stages of MBConv.

Source: https://github.com/huggingface/pytorch-image-models, timm/models/vitamin.py.
"""

import re
from typing import Any

from nnclip.convert.dialect import Settings, Source
from nnclip.convert.families import Family, check
from nnclip.convert.names import Rule, Table, in_blocks, led, turned
from nnclip.convert.timm_convnext import layers
from nnclip.convert.timm_vit import BLOCK, TIMM, TRUNK
from nnclip.graph.config import VitConfig
from nnclip.graph.stems import MBConvStem

EPS = 1e-6
HEADS = {"small": 6, "base": 12, "large": 16, "large2": 16, "xlarge": 16}
WRITTEN = {  # width -> size, and the resolutions that timm has names for
    384: ("small", (224,)),
    768: ("base", (224,)),
    1024: ("large", (224, 256, 336, 384)),
    1152: ("xlarge", (256, 336, 384)),
}
NAME = re.compile(rf"vitamin_({'|'.join(HEADS)})_\d+")
STEM = {  # published below `visual/stem/` -> timm's below `patch_embed.backbone.`
    **{x: f"stem.{x}" for x in ("conv1", "norm1", "conv2")},
    **{
        f"stages/{{}}/{{}}/{x}": f"stages.{{}}.{{}}.{x.replace('/', '.')}"
        for x in ("pre_norm", "conv1_1x1", "conv2_kxk", "conv3_1x1", "shortcut/expand")
    },
    **{f"pool/{x}": f"pool.{x}" for x in ("norm", "proj")},
}
MLP = {"ln": "norm", "c_gate": "w0", "c_fc": "w1", "c_proj": "w2"}  # published -> timm's


def _table() -> Table:
    block = {name: rule for name, rule in BLOCK.items() if "/mlp/" not in name}
    for ours, theirs in MLP.items():
        block |= layers(f"transformer/resblocks/{{}}/mlp/{ours}", f"blocks.{{}}.mlp.{theirs}")
    rules: dict[str, Rule] = {}
    for ours, theirs in STEM.items():
        rules |= layers(f"visual/stem/{ours}", f"{TRUNK}patch_embed.backbone.{theirs}")
    return {
        **rules,
        **in_blocks("visual/", TRUNK, block),
        **layers("visual/ln_post", f"{TRUNK}fc_norm"),
        "visual/positional_embedding": led(f"{TRUNK}pos_embed", 1),
        "visual/proj": turned("visual.head.proj.weight"),
    }


def knows(cfg: Settings) -> bool:
    """Whether the timm name is one of ViTamin."""
    return NAME.fullmatch(str(cfg.get("timm_model_name") or "")) is not None


def describe(source: Source, model: Settings, cfg: Settings) -> dict[str, Any]:
    """Heads by the timm name, and what all ViTamins share."""
    known = {"timm_pool": ("", None, "avg"), "timm_proj": ("linear",), "timm_proj_bias": (False,)}
    check("vision_cfg", cfg, {**TIMM, **known})
    size = NAME.fullmatch(cfg["timm_model_name"])
    assert size is not None
    told: dict[str, Any] = {
        "activation": "gelu",
        "image_heads": HEADS[size[1]],
        "layer_norm_eps": EPS,
        "image_pool": "mean",
        "image_norm_after_pool": True,
    }
    return told | ({"image_positions": "none"} if size[1] == "xlarge" else {})


def settings_of(image: VitConfig) -> Settings | None:
    """The `vision_cfg` of a tower that has a timm name; None if it has none."""
    if not isinstance(image.stem, MBConvStem):
        return None
    size, resolutions = WRITTEN.get(image.blocks.width, ("", ()))
    told = (image.blocks.heads, image.placed)
    if image.resolution not in resolutions or told != (
        HEADS[size],
        "none" if size == "xlarge" else "all",
    ):
        return None
    return {
        "timm_model_name": f"vitamin_{size}_{image.resolution}",
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": image.resolution,
    }


FAMILY = Family(VitConfig, knows, _table(), describe, settings_of, custom=True)
