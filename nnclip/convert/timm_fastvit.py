"""timm's FastViT as open_clip's image tower, with everything folded that is linear.

Names of what is folded are those that timm gives it, where it does: `reparam_conv`.

Source: https://github.com/huggingface/pytorch-image-models, timm/models/fastvit.py.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from nnclip.convert.dialect import Settings, Source
from nnclip.convert.families import Family, check
from nnclip.convert.folding import (
    Layer,
    Rules,
    Tensors,
    check_convolved,
    check_norm,
    conv_and_norm,
    convolved,
    factor_and_shift,
    fold_by,
    folded,
    lying,
    normalised,
    not_unfolded,
    unchanged,
    values,
)
from nnclip.convert.names import Rule, Table, same
from nnclip.convert.tensors import Tensor
from nnclip.convert.timm_convnext import layers
from nnclip.convert.timm_vit import TIMM, TRUNK
from nnclip.graph.fastvit import FastVitConfig

NAME = re.compile(r"fastvit_mci[0-4]")
STAGE = "stages/{}/"
BLOCK = f"{STAGE}blocks/{{}}/"
LAYERS = {  # published below `visual/` -> timm's below TRUNK, folded
    "stem/{}": "stem.{}.reparam_conv",
    f"{STAGE}downsample/0": "stages.{}.downsample.proj.0.reparam_conv",
    f"{STAGE}downsample/1": "stages.{}.downsample.proj.1.reparam_conv",
    f"{STAGE}downsample/se/fc1": "stages.{}.downsample.proj.0.se.fc1",
    f"{STAGE}downsample/se/fc2": "stages.{}.downsample.proj.0.se.fc2",
    f"{STAGE}pos_emb": "stages.{}.pos_emb.reparam_conv",
    f"{BLOCK}mixer": "stages.{}.blocks.{}.token_mixer.reparam_conv",
    f"{BLOCK}ln": "stages.{}.blocks.{}.norm",
    f"{BLOCK}attn/out_proj": "stages.{}.blocks.{}.token_mixer.proj",
    f"{BLOCK}mlp/conv": "stages.{}.blocks.{}.mlp.conv.conv",
    f"{BLOCK}mlp/fc1": "stages.{}.blocks.{}.mlp.fc1",
    f"{BLOCK}mlp/fc2": "stages.{}.blocks.{}.mlp.fc2",
    "final_conv": "final_conv.reparam_conv",
    "se/fc1": "final_conv.se.fc1",
    "se/fc2": "final_conv.se.fc2",
    "head": "head.fc",
}


def _table() -> Table:
    rules: dict[str, Rule] = {}
    for ours, theirs in LAYERS.items():
        rules |= layers(f"visual/{ours}", TRUNK + theirs)
    qkv = f"{TRUNK}stages.{{}}.blocks.{{}}.token_mixer.qkv"
    return {
        **rules,
        f"visual/{BLOCK}attn/in_proj_W": same(f"{qkv}.weight"),
        f"visual/{BLOCK}attn/in_proj_b": same(f"{qkv}.bias"),
    }


def _branches(tensors: Tensors, at: str) -> tuple[tuple[int, ...], list[str], bool]:
    """The filter's shape of a MobileOne block, its convolutions, and whether it has a shortcut."""
    start = re.compile(re.escape(at) + r"\.(identity|conv_scale|conv_kxk\.\d+)\..+")
    names = {match[1] for match in map(start.fullmatch, tensors) if match}
    found = sorted(names - {"identity"})
    shapes = [check_convolved(tensors, f"{at}.{name}") for name in found]
    if "identity" in names:
        check_norm(tensors, f"{at}.identity")
    kernel = check_convolved(tensors, f"{at}.conv_kxk.0")
    assert kernel in shapes
    return kernel, found, "identity" in names


def _sum(tensors: Tensors, at: str) -> Layer:
    """All branches of a MobileOne block as one convolution."""
    shape, names, shortcut = _branches(tensors, at)
    found = Layer(np.zeros(shape), np.zeros(shape[0]))
    for name in names:
        found = found + convolved(tensors, f"{at}.{name}", shape[-1])
    return found + normalised(tensors, f"{at}.identity", unchanged(shape)) if shortcut else found


def _mobile_one(tensors: Tensors, at: str) -> dict[str, Tensor]:
    shape, *_ = _branches(tensors, at)
    return folded(f"{at}.reparam_conv", shape, lambda: _sum(tensors, at))


def _rep_mixer(tensors: Tensors, at: str) -> dict[str, Tensor]:
    """x + gamma * (mixer(x) - norm(x)), a depthwise convolution."""
    shape, *_ = _branches(tensors, f"{at}.mixer")
    check_norm(tensors, f"{at}.norm.identity")
    lying(tensors, f"{at}.layer_scale.gamma")

    def make() -> Layer:
        gamma_C = values(tensors, f"{at}.layer_scale.gamma").reshape(-1)
        norm = normalised(tensors, f"{at}.norm.identity", unchanged(shape))
        both = _sum(tensors, f"{at}.mixer").times(gamma_C) + norm.times(-gamma_C)
        return both + Layer(unchanged(shape), np.zeros(shape[0]))

    return folded(f"{at}.reparam_conv", shape, make)


def _large_kernel(tensors: Tensors, at: str) -> dict[str, Tensor]:
    """Two convolutions of one input."""
    shape, _ = (check_convolved(tensors, f"{at}.{name}") for name in ("large_conv", "small_conv"))

    def make() -> Layer:
        large = convolved(tensors, f"{at}.large_conv", shape[-1])
        return large + convolved(tensors, f"{at}.small_conv", shape[-1])

    return folded(f"{at}.reparam_conv", shape, make)


def _positions(tensors: Tensors, at: str) -> dict[str, Tensor]:
    """x + a depthwise convolution of x."""
    lying(tensors, f"{at}.pos_enc.bias")
    shape = lying(tensors, f"{at}.pos_enc.weight").shape

    def make() -> Layer:
        own = Layer(*(values(tensors, f"{at}.pos_enc.{name}") for name in ("weight", "bias")))
        return own + Layer(unchanged(shape), np.zeros(shape[0]))

    return folded(f"{at}.reparam_conv", shape, make)


def _scaled(layer: str, *scales: str) -> Callable[[Tensors, str], dict[str, Tensor]]:
    """A block's last layer, times the scale behind it, which has the first of these names."""

    def fold(tensors: Tensors, at: str) -> dict[str, Tensor]:
        shape = lying(tensors, f"{at}.{layer}.weight").shape
        names = [f"{at}.{scale}.gamma" for scale in scales]
        gamma = lying(tensors, next((name for name in names if name in tensors), names[0]))

        def make() -> Layer:
            own = Layer(*(values(tensors, f"{at}.{layer}.{name}") for name in ("weight", "bias")))
            return own.times(gamma.read().astype(np.float64).reshape(-1))

        return folded(f"{at}.{layer}", shape, make)

    return fold


def _attention_in(tensors: Tensors, at: str) -> dict[str, Tensor]:
    """Queries, keys and values, and the batch normalisation before them, if it is one."""
    qkv = lying(tensors, f"{at}.token_mixer.qkv.weight")
    is_batch = any(f"{at}.norm.{name}" in tensors for name in ("running_mean", "running_var"))
    norm = {name: lying(tensors, name) for name in (f"{at}.norm.weight", f"{at}.norm.bias")}
    if is_batch:
        check_norm(tensors, f"{at}.norm")
        norm = {}

    def make() -> Layer:
        w_OC = qkv.read().astype(np.float64)
        if not is_batch:
            return Layer(w_OC, np.zeros(len(w_OC)))
        factor_C, shift_C = factor_and_shift(tensors, f"{at}.norm")
        return Layer(w_OC * factor_C, w_OC @ shift_C)

    return {**norm, **folded(f"{at}.token_mixer.qkv", qkv.shape, make)}


# The first that matches the whole name takes the tensor, with all others of the same group 1.
RULES: Rules = (
    (r"(.+\.token_mixer)\.(?:mixer|norm|layer_scale)\..+", _rep_mixer),
    (r"(.+)\.(?:identity|conv_scale|conv_kxk)\..+", _mobile_one),
    (r"(.+)\.(?:large_conv|small_conv)\..+", _large_kernel),
    (r"(.+)\.pos_enc\..+", _positions),
    (r"(.+\.mlp\.conv)\.(?:conv|bn)\..+", conv_and_norm),
    (
        r"(.+\.blocks\.\d+)\.(?:mlp\.fc2\..+|(?:layer_scale|layer_scale_2)\.gamma)",
        _scaled("mlp.fc2", "layer_scale", "layer_scale_2"),
    ),
    (
        r"(.+\.blocks\.\d+)\.(?:token_mixer\.proj\..+|layer_scale_1\.gamma)",
        _scaled("token_mixer.proj", "layer_scale_1"),
    ),
    (r"(.+\.blocks\.\d+)\.(?:token_mixer\.qkv|norm)\..+", _attention_in),
)


def fold(tensors: Tensors) -> dict[str, Tensor]:
    """All tensors of a model, those of the tower folded."""
    return fold_by(RULES, tensors, TRUNK)


def describe(source: Source, model: Settings, cfg: Settings) -> dict[str, Any]:
    """Nothing: tensors tell all."""
    check("vision_cfg", cfg, {**TIMM, "timm_pool": ("avg",), "timm_proj": (None, "")})
    return {}


def settings_of(image: FastVitConfig) -> Settings | None:
    """CheckpointError: it cannot be unfolded."""
    raise not_unfolded(image.kind)


FAMILY = Family(
    FastVitConfig,
    lambda cfg: NAME.fullmatch(str(cfg.get("timm_model_name") or "")) is not None,
    _table(),
    describe,
    settings_of,
    custom=True,
    fold=fold,
)
