"""open_clip's dialect: OpenAI's names, with the settings in a JSON file.

Source: https://github.com/mlfoundations/open_clip, src/open_clip/model.py and factory.py.
"""

import math
from typing import Any

from nnclip.convert import openai
from nnclip.convert.dialect import Dialect, Settings, Source, one_value, own_towers
from nnclip.errors import CheckpointError
from nnclip.graph.config import BlockConfig, ClipConfig, ClipResNetConfig, VitConfig

FILE = "open_clip_config.json"
# settings that change what the same tensors compute -> the values that nnclip computes
VISION = {
    "timm_model_name": (None,),
    "attentional_pool": (False,),
    "no_ln_pre": (False,),
    "final_ln_after_pool": (False,),
    "pool_type": ("tok",),
    "qk_norm": (False,),
    "scaled_cosine_attn": (False,),
}
TEXT = {
    "hf_model_name": (None,),
    "embed_cls": (False,),
    "no_causal_mask": (False,),
    "final_ln_after_pool": (False,),
    "pool_type": ("argmax",),
    "qk_norm": (False,),
    "scaled_cosine_attn": (False,),
}


def describe(source: Source) -> dict[str, Any]:
    """Activation, heads, epsilon, mean and std from open_clip_config.json, where it is there."""
    whole = source.settings.get(FILE)
    if whole is None:
        return {}
    model, pictures = whole.get("model_cfg", whole), whole.get("preprocess_cfg", {})
    vision, text = dict(model.get("vision_cfg", {})), dict(model.get("text_cfg", {}))
    for cfg, known in ((vision, VISION), (text, TEXT)):
        for key, values in known.items():
            if cfg.get(key, values[0]) not in values:
                raise CheckpointError(f"{FILE}: found {key} {cfg[key]!r}, expected {values[0]!r}")
    resnet = isinstance(vision.get("layers"), list)
    normed = (text,) if resnet else (vision, text)
    eps = [(cfg.get("norm_kwargs") or {}).get("eps", 1e-5) for cfg in normed]
    channels = vision.get("width", 768) * (32 if resnet else 1)  # of what has heads
    return {
        "activation": "quick_gelu" if model.get("quick_gelu", False) else "gelu",
        "image_heads": channels // vision.get("head_width", 64),
        "text_heads": text.get("heads", 8),
        "layer_norm_eps": one_value("norm_kwargs", eps[0], eps[-1]),
        **{key: pictures[key] for key in ("mean", "std") if key in pictures},
        **({"resolution": vision["image_size"]} if "image_size" in vision else {}),
    }


def _blocks(config: BlockConfig) -> Settings:
    ratio = config.hidden / config.width
    if int(config.width * ratio) < config.hidden:  # open_clip rounds down
        ratio = math.nextafter(ratio, math.inf)
    settings: dict[str, Any] = {"layers": config.layers, "width": config.width, "mlp_ratio": ratio}
    if config.eps != 1e-5:
        settings["norm_kwargs"] = {"eps": config.eps}
    return settings


def _vision(image: VitConfig | ClipResNetConfig) -> Settings:
    if isinstance(image, ClipResNetConfig):
        return {
            "layers": list(image.layers),
            "width": image.width,
            "head_width": image.channels // image.heads,
            "image_size": image.resolution,
            "patch_size": None,
        }
    return {
        **_blocks(image.blocks),
        "head_width": image.blocks.width // image.blocks.heads,
        "image_size": image.resolution,
        "patch_size": image.patch,
    }


def settings_of(config: ClipConfig) -> dict[str, Settings]:
    """The file that open_clip's `local-dir:` reads."""
    image, text = own_towers(config, "open_clip")
    activation = text.blocks.activation
    if not isinstance(image, ClipResNetConfig):
        one_value("activation", image.blocks.activation, activation)
    model = {
        "embed_dim": config.embed,
        "quick_gelu": activation == "quick_gelu",
        "vision_cfg": _vision(image),
        "text_cfg": {
            **_blocks(text.blocks),
            "heads": text.blocks.heads,
            "context_length": text.context,
            "vocab_size": text.vocabulary,
        },
    }
    pictures = {"mean": list(image.preprocess.mean), "std": list(image.preprocess.std)}
    return {FILE: {"model_cfg": model, "preprocess_cfg": pictures}}


DIALECT = Dialect(
    "open_clip",
    openai.TABLE,
    openai.DROPPED,
    describe,
    settings_of,
    file="open_clip_model.safetensors",
)
