"""Hugging Face's dialect: CLIPModel of the transformers library, queries, keys and values apart.

Source: https://github.com/huggingface/transformers, models/clip/modeling_clip.py.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from nnclip.convert.built import Built, links_to, quiet
from nnclip.convert.dialect import (
    Code,
    Dialect,
    Part,
    Settings,
    Source,
    check_plain,
    names_of,
    part,
    part_of,
    without_heads,
)
from nnclip.convert.names import in_blocks, same, split, turned
from nnclip.convert.open_clip_images import square_side
from nnclip.convert.transformers_images import (
    OWN_FILE,
    PROCESSOR_FILE,
    read_preprocess,
    write_preprocess,
)
from nnclip.errors import CheckpointError
from nnclip.graph.config import BlockConfig, ClipConfig, TextConfig, VitConfig
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
VISION = {
    "visual/class_embedding": same("vision_model.embeddings.class_embedding"),
    "visual/positional_embedding": same("vision_model.embeddings.position_embedding.weight"),
    "visual/proj": turned("visual_projection.weight"),
    "visual/conv1/W": same("vision_model.embeddings.patch_embedding.weight"),
    "visual/ln_pre/W": same("vision_model.pre_layrnorm.weight"),  # their spelling
    "visual/ln_pre/b": same("vision_model.pre_layrnorm.bias"),
    **in_blocks("visual/", "vision_model.", BLOCK),
    "visual/ln_post/W": same("vision_model.post_layernorm.weight"),
    "visual/ln_post/b": same("vision_model.post_layernorm.bias"),
}
TEXT = {
    "token_embedding/W": same("text_model.embeddings.token_embedding.weight"),
    "positional_embedding": same("text_model.embeddings.position_embedding.weight"),
    **in_blocks("", "text_model.", BLOCK),
    "ln_final/W": same("text_model.final_layer_norm.weight"),
    "ln_final/b": same("text_model.final_layer_norm.bias"),
    "text_projection": turned("text_projection.weight"),
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
        raise CheckpointError(
            f"{FILE}: found a {found} model, which nnclip does not know; of "
            "transformers' models it knows 'clip', and those that docs/models.md lists"
        )
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


def _blocks(config: BlockConfig) -> dict[str, Any]:
    return {
        "hidden_act": config.activation,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "layer_norm_eps": config.eps,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
    }


def _vision(image: VitConfig) -> dict[str, Any]:
    check_plain(image, "transformers' CLIPModel")
    return {
        **_blocks(image.blocks),
        "model_type": "clip_vision_model",
        "image_size": image.resolution,
        "patch_size": image.patch,
    }


def _text(text: TextConfig) -> dict[str, Any]:
    check_plain(text, "transformers' CLIPModel")
    return {
        **_blocks(text.blocks),
        "model_type": "clip_text_model",
        "max_position_embeddings": text.context,
        "vocab_size": text.vocabulary,
        "bos_token_id": text.vocabulary - 2,
        "eos_token_id": text.vocabulary - 1,
    }


def settings_of(config: ClipConfig) -> dict[str, Settings]:
    """The files that `CLIPModel.from_pretrained` and `CLIPImageProcessor.from_pretrained` read."""
    without_heads(config, "transformers")
    image = part_of(IMAGES, config.image, "transformers").write(config.image)
    text = part_of(TEXTS, config.text, "transformers").write(config.text)
    embed = {"projection_dim": config.embed}
    model = {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        **embed,
        "vision_config": {**image, **embed},
        "text_config": {**text, **embed},
    }
    return {FILE: model, OWN_FILE: write_preprocess(config.image.preprocess)}


def _claims(source: Source) -> bool:
    return any(key.startswith(("vision_model.", "text_model.")) for key in source.tensors)


def _build(config: ClipConfig) -> Any:
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    return transformers.CLIPModel(transformers.CLIPConfig(**settings_of(config)[FILE]))


def _features(model: Any, config: ClipConfig, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    import torch

    images, ids = torch.from_numpy(inputs["image"]), torch.from_numpy(inputs["text"]).long()
    found = {"image": model.get_image_features(images), "text": model.get_text_features(ids)}
    # transformers 5 gives the tower's whole output, earlier ones the features themselves
    return {side: getattr(output, "pooler_output", output) for side, output in found.items()}


def _open(source: Source) -> Built:
    import torch
    import transformers

    folder = source.files[0].parent
    files = {path.name: path for path in folder.glob("*.json")}
    if len(source.files) == 1:
        suffix = source.files[0].suffix
        name = "model.safetensors" if suffix == ".safetensors" else "pytorch_model.bin"
        files = {k: v for k, v in files.items() if not k.endswith(".index.json")}
        files[name] = source.files[0]
    else:
        files |= {path.name: path for path in source.files}
    with links_to(files) as links, quiet():
        transformers.utils.logging.disable_progress_bar()
        model = transformers.AutoModel.from_pretrained(links, dtype=torch.float32)
        if not any((links / name).exists() for name in FILES[1:]):
            return Built(model.eval(), None)
        processor: Any = transformers.AutoImageProcessor.from_pretrained(links, backend="pil")
    return Built(
        model.eval(), lambda image: processor(image, return_tensors="np")["pixel_values"][0]
    )


IMAGES = (Part(VitConfig, "vision transformer", VISION, write=_vision),)
TEXTS = (Part(TextConfig, "CLIP's text transformer", TEXT, write=_text),)
DIALECT = Dialect(
    "huggingface",
    names_of("transformers", IMAGES, TEXTS, {"logit_scale": same("logit_scale")}),
    DROPPED,
    _claims,
    describe,
    settings_of,
    Code(
        "transformers",
        "transformers",
        _build,
        _features,
        open=_open,
        logits=lambda model, images, ids: (
            model(pixel_values=images, input_ids=ids).logits_per_image
        ),
        blocks=lambda model: {
            "image": model.vision_model.encoder.layers,
            "text": model.text_model.encoder.layers,
        },
    ),
    settings=FILES,
    file="model.safetensors",
    pipeline="transformers",
)
