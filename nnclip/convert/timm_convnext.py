"""timm's ConvNeXt as open_clip's image tower.

Source: https://github.com/huggingface/pytorch-image-models, timm/models/convnext.py.
"""

from dataclasses import dataclass
from typing import Any

from nnclip.convert.dialect import Settings, Source
from nnclip.convert.families import Family, check
from nnclip.convert.names import Rule, Table, same, turned
from nnclip.convert.timm_vit import TIMM, TRUNK
from nnclip.graph.convnext import ConvNextConfig


@dataclass(frozen=True)
class Named:
    """What a timm name stands for."""

    width: int  # of the first stage; doubled by each
    layers: tuple[int, ...]
    eps: float = 1e-6


NAMES = {
    "convnext_base": Named(128, (3, 3, 27, 3)),
    "convnext_large": Named(192, (3, 3, 27, 3)),
    "convnext_xxlarge": Named(384, (3, 4, 30, 3), eps=1e-5),
}
PROJECTIONS = {"matrix": "linear", "mlp": "mlp"}  # projection -> timm_proj
BLOCK = ("conv_dw", "norm", "mlp/fc1", "mlp/fc2")
LAYERS = {  # published below `visual/` -> timm's below TRUNK
    **{f"stem/{i}": f"stem.{i}" for i in (0, 1)},
    **{f"stages/{{}}/downsample/{i}": f"stages.{{}}.downsample.{i}" for i in (0, 1)},
    **{f"stages/{{}}/blocks/{{}}/{x}": f"stages.{{}}.blocks.{{}}.{x}" for x in BLOCK},
    "norm": "head.norm",
}


def layers(published: str, foreign: str) -> dict[str, Rule]:
    """The rules of a layer with a weight and a bias."""
    return {f"{published}/W": same(f"{foreign}.weight"), f"{published}/b": same(f"{foreign}.bias")}


def _table() -> Table:
    rules: dict[str, Rule] = {}
    for ours, theirs in LAYERS.items():
        rules |= layers(f"visual/{ours}", TRUNK + theirs.replace("/", "."))
    return {
        **rules,
        "visual/stages/{}/blocks/{}/gamma": same(TRUNK + "stages.{}.blocks.{}.gamma"),
        "visual/proj": turned("visual.head.proj.weight"),
        **layers("visual/head/c_fc", "visual.head.mlp.fc1"),
        "visual/head/proj": turned("visual.head.mlp.fc2.weight"),
    }


def describe(source: Source, model: Settings, cfg: Settings) -> dict[str, Any]:
    """The epsilon by the timm name; tensors tell the rest."""
    projections = tuple(PROJECTIONS.values())
    known = {"timm_pool": ("", None, "avg"), "timm_proj": projections, "timm_proj_bias": (False,)}
    check("vision_cfg", cfg, {**TIMM, **known})
    return {"layer_norm_eps": NAMES[cfg["timm_model_name"]].eps}


def settings_of(image: ConvNextConfig) -> Settings | None:
    """The `vision_cfg` of a tower that has a timm name; None if it has none."""
    own = Named(image.widths[0], image.layers, image.eps)
    name = next((name for name, named in NAMES.items() if named == own), None)
    if name is None or image.widths != tuple(own.width << s for s in range(4)):
        return None
    return {
        "timm_model_name": name,
        "timm_pool": "",
        "timm_proj": PROJECTIONS[image.projection],
        "image_size": image.resolution,
    }


FAMILY = Family(
    ConvNextConfig, lambda cfg: cfg.get("timm_model_name") in NAMES, _table(), describe, settings_of
)
