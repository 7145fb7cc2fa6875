"""Hugging Face's dialect: CLIPModel of the transformers library, queries, keys and values apart.

Source: https://github.com/huggingface/transformers, models/clip/modeling_clip.py.
"""

from typing import Any

from nnclip.convert.dialect import Dialect, Settings, Source, own_towers, part
from nnclip.convert.names import in_blocks, same, split, turned
from nnclip.convert.open_clip_images import square_side
from nnclip.convert.transformers_images import (
    OWN_FILE,
    PROCESSOR_FILE,
    read_preprocess,
    write_preprocess,
)
from nnclip.errors import CheckpointError
from nnclip.graph.config import BlockConfig, ClipConfig, ClipResNetConfig
from nnclip.image import Preprocess
from nnclip.json_text import brief

FILE = "config.json"
FILES = (FILE, OWN_FILE, PROCESSOR_FILE)
ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh"}  # where names differ
BLOCK = {
    "transformer/resblocks/{}/attn/in_proj_W": split(
        "encoder.layers.{}.self_attn.q_proj.weight",
        "encoder.layers.{}.self_attn.k_proj.weight",
        "encoder.layers.{}.self_attn.v_proj.weight",
    ),
    "transformer/resblocks/{}/attn/in_proj_b": split(
        "encoder.layers.{}.self_attn.q_proj.bias",
        "encoder.layers.{}.self_attn.k_proj.bias",
        "encoder.layers.{}.self_attn.v_proj.bias",
    ),
    "transformer/resblocks/{}/attn/out_proj/W": same("encoder.layers.{}.self_attn.out_proj.weight"),
    "transformer/resblocks/{}/attn/out_proj/b": same("encoder.layers.{}.self_attn.out_proj.bias"),
    "transformer/resblocks/{}/ln_1/W": same("encoder.layers.{}.layer_norm1.weight"),
    "transformer/resblocks/{}/ln_1/b": same("encoder.layers.{}.layer_norm1.bias"),
    "transformer/resblocks/{}/mlp/c_fc/W": same("encoder.layers.{}.mlp.fc1.weight"),
    "transformer/resblocks/{}/mlp/c_fc/b": same("encoder.layers.{}.mlp.fc1.bias"),
    "transformer/resblocks/{}/mlp/c_proj/W": same("encoder.layers.{}.mlp.fc2.weight"),
    "transformer/resblocks/{}/mlp/c_proj/b": same("encoder.layers.{}.mlp.fc2.bias"),
    "transformer/resblocks/{}/ln_2/W": same("encoder.layers.{}.layer_norm2.weight"),
    "transformer/resblocks/{}/ln_2/b": same("encoder.layers.{}.layer_norm2.bias"),
}
TABLE = {
    "visual/class_embedding": same("vision_model.embeddings.class_embedding"),
    "visual/positional_embedding": same("vision_model.embeddings.position_embedding.weight"),
    "visual/proj": turned("visual_projection.weight"),
    "visual/conv1/W": same("vision_model.embeddings.patch_embedding.weight"),
    "visual/ln_pre/W": same("vision_model.pre_layrnorm.weight"),  # their spelling
    "visual/ln_pre/b": same("vision_model.pre_layrnorm.bias"),
    **in_blocks("visual/", "vision_model.", BLOCK),
    "visual/ln_post/W": same("vision_model.post_layernorm.weight"),
    "visual/ln_post/b": same("vision_model.post_layernorm.bias"),
    "token_embedding/W": same("text_model.embeddings.token_embedding.weight"),
    "positional_embedding": same("text_model.embeddings.position_embedding.weight"),
    **in_blocks("", "text_model.", BLOCK),
    "ln_final/W": same("text_model.final_layer_norm.weight"),
    "ln_final/b": same("text_model.final_layer_norm.bias"),
    "text_projection": turned("text_projection.weight"),
    "logit_scale": same("logit_scale"),
}
DROPPED = r"(vision|text)_model\.embeddings\.position_ids"  # 0, 1, 2, ...


def describe(source: Source) -> dict[str, Any]:
    """Activation, heads, epsilon from config.json; preprocessing from the image processor's file.

    Raises:
        CheckpointError: no config.json, or a setting that is not known.
    """
    whole = source.settings.get(FILE)
    if whole is None:
        raise CheckpointError(f"{source.path}: found no {FILE} beside it, which tells the heads")
    if whole.get("model_type", "clip") != "clip":
        found = brief(whole["model_type"])
        raise CheckpointError(f"{FILE}: found a {found} model, expected 'clip'")
    # what early versions wrote into *_config_dict comes before *_config
    image, text = (
        {**part(whole, f"{tower}_config"), **part(whole, f"{tower}_config_dict")}
        for tower in ("vision", "text")
    )
    told = read_preprocess(source.settings, image.get("image_size", 224))
    preprocess = told or Preprocess(square_side("image_size", image.get("image_size", 224)))
    return {
        "activation": _activation(image),
        "text_activation": _activation(text),
        "image_heads": image.get("num_attention_heads", 12),
        "text_heads": text.get("num_attention_heads", 8),
        "layer_norm_eps": image.get("layer_norm_eps", 1e-5),
        "text_layer_norm_eps": text.get("layer_norm_eps", 1e-5),
        **preprocess.metadata(),
    }


def _activation(cfg: Settings) -> str:
    found = cfg.get("hidden_act", "quick_gelu")
    return ACTIVATIONS.get(found, str(found))


def _blocks(config: BlockConfig, embed: int) -> dict[str, Any]:
    return {
        "hidden_act": config.activation,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "layer_norm_eps": config.eps,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "projection_dim": embed,
    }


def settings_of(config: ClipConfig) -> dict[str, Settings]:
    """The files that `CLIPModel.from_pretrained` and `CLIPImageProcessor.from_pretrained` read."""
    image, text = own_towers(config, "transformers")
    if isinstance(image, ClipResNetConfig):
        raise CheckpointError("found a ResNet, but the code of transformers knows no such CLIP")
    model = {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed,
        "vision_config": {
            **_blocks(image.blocks, config.embed),
            "model_type": "clip_vision_model",
            "image_size": image.resolution,
            "patch_size": image.patch,
        },
        "text_config": {
            **_blocks(text.blocks, config.embed),
            "model_type": "clip_text_model",
            "max_position_embeddings": text.context,
            "vocab_size": text.vocabulary,
            "bos_token_id": text.vocabulary - 2,
            "eos_token_id": text.vocabulary - 1,
        },
    }
    return {FILE: model, OWN_FILE: write_preprocess(image.preprocess)}


DIALECT = Dialect(
    "huggingface",
    TABLE,
    DROPPED,
    describe,
    settings_of,
    file="model.safetensors",
    pipeline="transformers",
)
