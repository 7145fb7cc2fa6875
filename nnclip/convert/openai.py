"""OpenAI's dialect: its TorchScript archives, and the state dictionaries of its model code.

Source: https://github.com/openai/CLIP, clip/model.py.
"""

from dataclasses import replace
from typing import Any

from nnclip.convert import resnets
from nnclip.convert.dialect import Dialect, Settings, Source, own_towers
from nnclip.convert.names import in_blocks, same
from nnclip.errors import CheckpointError
from nnclip.graph.config import BlockConfig, ClipConfig, ClipResNetConfig
from nnclip.image import Preprocess

BLOCK = {
    "transformer/resblocks/{}/attn/in_proj_W": same("transformer.resblocks.{}.attn.in_proj_weight"),
    "transformer/resblocks/{}/attn/in_proj_b": same("transformer.resblocks.{}.attn.in_proj_bias"),
    "transformer/resblocks/{}/attn/out_proj/W": same(
        "transformer.resblocks.{}.attn.out_proj.weight"
    ),
    "transformer/resblocks/{}/attn/out_proj/b": same("transformer.resblocks.{}.attn.out_proj.bias"),
    "transformer/resblocks/{}/ln_1/W": same("transformer.resblocks.{}.ln_1.weight"),
    "transformer/resblocks/{}/ln_1/b": same("transformer.resblocks.{}.ln_1.bias"),
    "transformer/resblocks/{}/mlp/c_fc/W": same("transformer.resblocks.{}.mlp.c_fc.weight"),
    "transformer/resblocks/{}/mlp/c_fc/b": same("transformer.resblocks.{}.mlp.c_fc.bias"),
    "transformer/resblocks/{}/mlp/c_proj/W": same("transformer.resblocks.{}.mlp.c_proj.weight"),
    "transformer/resblocks/{}/mlp/c_proj/b": same("transformer.resblocks.{}.mlp.c_proj.bias"),
    "transformer/resblocks/{}/ln_2/W": same("transformer.resblocks.{}.ln_2.weight"),
    "transformer/resblocks/{}/ln_2/b": same("transformer.resblocks.{}.ln_2.bias"),
}
VIT = {
    "visual/class_embedding": same("visual.class_embedding"),
    "visual/positional_embedding": same("visual.positional_embedding"),
    "visual/proj": same("visual.proj"),
    "visual/conv1/W": same("visual.conv1.weight"),
    "visual/ln_pre/W": same("visual.ln_pre.weight"),
    "visual/ln_pre/b": same("visual.ln_pre.bias"),
    **in_blocks("visual/", "visual.", BLOCK),
    "visual/ln_post/W": same("visual.ln_post.weight"),
    "visual/ln_post/b": same("visual.ln_post.bias"),
}
POOL = "visual/attnpool"
RESNET = {
    **resnets.table(("conv1", "bn1", "conv2", "bn2", "conv3", "bn3"), "visual."),
    f"{POOL}/positional_embedding": same("visual.attnpool.positional_embedding"),
    **resnets.affine(f"{POOL}/q_proj", "visual.attnpool.q_proj"),
    **resnets.affine(f"{POOL}/k_proj", "visual.attnpool.k_proj"),
    **resnets.affine(f"{POOL}/v_proj", "visual.attnpool.v_proj"),
    **resnets.affine(f"{POOL}/c_proj", "visual.attnpool.c_proj"),
}
TEXT = {
    "token_embedding/W": same("token_embedding.weight"),
    "positional_embedding": same("positional_embedding"),
    **in_blocks("", "", BLOCK),
    "ln_final/W": same("ln_final.weight"),
    "ln_final/b": same("ln_final.bias"),
    "text_projection": same("text_projection"),
    "logit_scale": same("logit_scale"),
}
TABLE = {**VIT, **RESNET, **TEXT}
SIZES = {"input_resolution", "context_length", "vocab_size"}  # in the archives of OpenAI only
# the sizes, which shapes tell as well, the causal mask and the counters of batch normalisations
DROPPED = (
    r"(visual\.)?input_resolution|context_length|vocab_size|(.*\.)?attn_mask|" + resnets.COUNTED
)


def describe(source: Source) -> dict[str, Any]:
    """Nothing: what shapes do not tell are constants in OpenAI's code, our defaults."""
    return {}


def settings_of(config: ClipConfig) -> dict[str, Settings]:
    """No file beside; CheckpointError if OpenAI's code has another constant in place of ours."""
    image, text = own_towers(config, "OpenAI")
    if isinstance(image, ClipResNetConfig):
        _check("image", image.channels, {"heads": (image.heads, image.channels // 64)})
    else:
        _check_blocks("image", image.blocks)
    _check_blocks("text", text.blocks)
    found = replace(image.preprocess, pipeline="torchvision")
    if found != Preprocess(image.resolution):
        raise CheckpointError(
            f"images: found a model that wants {found.describe()}, but OpenAI's code knows only "
            "its own preprocessing; use --dialect open_clip or huggingface"
        )
    return {}


def _check_blocks(tower: str, blocks: BlockConfig) -> None:
    width = blocks.width
    wanted = {"activation": "quick_gelu", "hidden": 4 * width, "eps": 1e-5}
    wanted |= {"heads": max(width // 64, 1)}
    _check(tower, width, {k: (getattr(blocks, k), value) for k, value in wanted.items()})


def _check(tower: str, width: int, constants: dict[str, tuple[Any, Any]]) -> None:
    for what, (found, known) in constants.items():
        if found != known:
            raise CheckpointError(
                f"{tower} {what}: found {found}, but OpenAI's code knows only {known} for a width "
                f"of {width}; use --dialect open_clip or huggingface"
            )


DIALECT = Dialect("openai", TABLE, DROPPED, describe, settings_of)
