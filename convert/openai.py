"""OpenAI's dialect: its TorchScript archives, and the state dictionaries of its model code.

Source: https://github.com/openai/CLIP, clip/model.py.
"""

from typing import Any

from convert.dialect import Dialect, Settings, Source
from convert.names import in_blocks, same
from nnclip.errors import CheckpointError
from nnclip.graph.config import ClipConfig

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
TABLE = {
    "visual/class_embedding": same("visual.class_embedding"),
    "visual/positional_embedding": same("visual.positional_embedding"),
    "visual/proj": same("visual.proj"),
    "visual/conv1/W": same("visual.conv1.weight"),
    "visual/ln_pre/W": same("visual.ln_pre.weight"),
    "visual/ln_pre/b": same("visual.ln_pre.bias"),
    **in_blocks("visual/", "visual.", BLOCK),
    "visual/ln_post/W": same("visual.ln_post.weight"),
    "visual/ln_post/b": same("visual.ln_post.bias"),
    "token_embedding/W": same("token_embedding.weight"),
    "positional_embedding": same("positional_embedding"),
    **in_blocks("", "", BLOCK),
    "ln_final/W": same("ln_final.weight"),
    "ln_final/b": same("ln_final.bias"),
    "text_projection": same("text_projection"),
    "logit_scale": same("logit_scale"),
}
SIZES = {"input_resolution", "context_length", "vocab_size"}  # in the archives of OpenAI only
# the sizes, which shapes tell as well, and the causal mask
DROPPED = r"(visual\.)?input_resolution|context_length|vocab_size|(.*\.)?attn_mask"


def describe(source: Source) -> dict[str, Any]:
    """Nothing: what shapes do not tell are constants in OpenAI's code, our defaults."""
    return {}


def settings_of(config: ClipConfig) -> dict[str, Settings]:
    """No file beside; CheckpointError if OpenAI's code has another constant in place of ours."""
    towers = {"image": config.image.blocks, "text": config.text.blocks}
    for tower, blocks in towers.items():
        width = blocks.width
        wanted = {"activation": "quick_gelu", "hidden": 4 * width, "eps": 1e-5}
        for what, value in {**wanted, "heads": max(width // 64, 1)}.items():
            if getattr(blocks, what) != value:
                raise CheckpointError(
                    f"{tower} {what}: found {getattr(blocks, what)}, but OpenAI's code knows only "
                    f"{value} for a width of {width}; use --dialect open_clip or huggingface"
                )
    return {}


DIALECT = Dialect("openai", TABLE, DROPPED, describe, settings_of)
