"""Models of transformers that have BERT's or XLM-R's encoder as their text tower.

ChineseCLIPModel, AltCLIPModel, and VisionTextDualEncoderModel, which joins any two models by what
they call their pooled output: for BERT and ViT that is a dense layer with tanh on the first token.

Source: https://github.com/huggingface/transformers, models/chinese_clip, altclip and
vision_text_dual_encoder.
"""

import dataclasses
from typing import Any

from nnclip.convert.bert import BERT, ROBERTA, read_encoder, written_encoder
from nnclip.convert.dialect import Part, Settings, unusual, whole_number
from nnclip.convert.names import Table, below, in_blocks, led, same, split, turned
from nnclip.convert.transformers_clip import (
    IMAGE,
    TEXT_PART,
    VISION,
    read_vision,
    vision_table,
    written_blocks,
    written_vision,
)
from nnclip.convert.transformers_models import FILE, Model, both, check_computed
from nnclip.convert.transformers_siglip import IMAGE as SIGLIP_IMAGE
from nnclip.convert.transformers_siglip import is_image
from nnclip.errors import CheckpointError
from nnclip.graph.bert import BertConfig
from nnclip.graph.config import VitConfig
from nnclip.json_text import brief

ENCODER: Table = {k: rule for k, rule in BERT.items() if not k.startswith("bert/projection")}
PROJECTION: Table = {"bert/projection/W": same("text_projection.weight")}
CHINESE: Table = {**below("text_model.", ENCODER), **PROJECTION}
ALT: Table = {
    **below("text_model.roberta.", ENCODER),
    **both("bert/ln_pooled", "text_model.pre_LN"),
    **both("bert/dense", "text_model.transformation"),
    **PROJECTION,
}
POOLED: Table = {**CHINESE, **both("bert/dense", "text_model.pooler.dense")}
VIT_BLOCK: Table = {
    **{
        f"attn/in_proj_{ours}": split(
            *(f"attention.attention.{one}.{theirs}" for one in ("query", "key", "value"))
        )
        for ours, theirs in (("W", "weight"), ("b", "bias"))
    },
    **both("attn/out_proj", "attention.output.dense"),
    **both("ln_1", "layernorm_before"),
    **both("mlp/c_fc", "intermediate.dense"),
    **both("mlp/c_proj", "output.dense"),
    **both("ln_2", "layernorm_after"),
}
VIT_MARKER = "vision_model.embeddings.cls_token"
VIT: Table = {
    "visual/class_embedding": led(VIT_MARKER, 2),
    "visual/positional_embedding": led("vision_model.embeddings.position_embeddings", 1),
    "visual/proj": turned("visual_projection.weight"),
    **both("visual/conv1", "vision_model.embeddings.patch_embeddings.projection"),
    **in_blocks("visual/transformer/resblocks/{}/", "vision_model.encoder.layer.{}.", VIT_BLOCK),
    **both("visual/ln_post", "vision_model.layernorm"),
    **both("visual/pooler", "vision_model.pooler.dense"),
}
VIT_LOOK = {"patch_bias": True, "norm_before": False, "pooler": True}


def _read_chinese(cfg: Settings) -> dict[str, Any]:
    return read_encoder(cfg, roberta=False)


def _read_alt(cfg: Settings) -> dict[str, Any]:
    return read_encoder({"layer_norm_eps": 1e-5, "num_attention_heads": 16, **cfg}, roberta=True)


def _read_pooled(cfg: Settings) -> dict[str, Any]:
    kind = cfg.get("model_type")
    if kind not in ("bert", *ROBERTA):
        raise CheckpointError(
            f"{FILE}: text_config: found a {brief(kind)} model, which nnclip does not know there; "
            f"it knows bert, {', '.join(ROBERTA)} and clip_text_model"
        )
    return {**read_encoder(cfg, kind in ROBERTA), "bert_dense": "tanh"}


def _read_clip_vision(cfg: Settings) -> dict[str, Any]:
    _check_kind(cfg, "clip_vision_model")
    return read_vision(cfg)


def _read_siglip_vision(cfg: Settings) -> dict[str, Any]:
    _check_kind(cfg, "siglip_vision_model")
    told = SIGLIP_IMAGE.read(cfg)
    return {key: value for key, value in told.items() if key != "image_projection"}


def _read_vit(cfg: Settings) -> dict[str, Any]:
    _check_kind(cfg, "vit")
    width = whole_number(cfg, "hidden_size", 768, 1)
    computed = {
        "pooler_act": ("tanh",),
        "pooler_output_size": (width, None),
        "qkv_bias": (True,),
    }
    check_computed("vision_config", cfg, computed)
    return read_vision(cfg, "gelu", 1e-12)


def _check_kind(cfg: Settings, expected: str) -> None:
    found = cfg.get("model_type", expected)
    if found != expected:
        raise CheckpointError(
            f"{FILE}: vision_config: found a {brief(found)} model, which nnclip does not know "
            "there; it knows clip_vision_model, siglip_vision_model and vit"
        )


def _fits(roberta: bool, **fields: Any) -> Any:
    """Whether an encoder has these fields, a projection without bias, and reads its first token."""
    usual = {"pooled_norm": False, "dense_bias": True, "dense_activation": "identity"}

    def fits(tower: BertConfig) -> bool:
        wanted = {**usual, **fields, "pooling": "first", "projection_bias": False}
        found = {name: getattr(tower, name) for name in wanted}
        begins = tower.pad + 1 if roberta else 0
        # token types are counted from 0: a table without rows is no encoder of these
        counted = (tower.first_position, bool(tower.types)) == (begins, True)
        return found == wanted and counted and bool(tower.projection) and tower.clean == "none"

    return fits


def _write_chinese(text: BertConfig) -> dict[str, Any]:
    return {"model_type": "chinese_clip_text_model", **written_encoder(text)}


def _write_alt(text: BertConfig) -> dict[str, Any]:
    told = {"model_type": "altclip_text_model", **written_encoder(text)}
    return {**told, "project_dim": text.dense}


def _write_pooled(text: BertConfig) -> dict[str, Any]:
    kind = "xlm-roberta" if text.first_position else "bert"
    return {"model_type": kind, **written_encoder(text)}


def _write_vit(image: VitConfig) -> dict[str, Any]:
    told = {"image_size": image.resolution, "patch_size": image.patch}
    return {"model_type": "vit", **written_blocks(image.blocks), **told}


def _is_vit(image: VitConfig) -> bool:
    found = {name: getattr(image, name) for name in VIT_LOOK}
    return found == VIT_LOOK and unusual(image, tuple(VIT_LOOK)) is None


def _is_pooled(tower: BertConfig) -> bool:
    fields = {"dense": tower.blocks.width, "dense_activation": "tanh"}
    return any(_fits(roberta, **fields)(tower) for roberta in (False, True))


def _is_plain(image: VitConfig) -> bool:
    return unusual(image) is None


def _vision(kind: str, table: Table) -> Part:
    """CLIP's image tower under another model_type."""
    write = written_vision(kind)
    words = "vision transformer"
    return Part(VitConfig, words, table, read=read_vision, write=write, fits=_is_plain)


CHINESE_CLIP = Model(
    "chinese_clip",
    "ChineseCLIPModel",
    (_vision("chinese_clip_vision_model", VISION),),
    (
        Part(
            BertConfig,
            "BERT",
            CHINESE,
            read=_read_chinese,
            write=_write_chinese,
            fits=_fits(False, dense=0, dense_bias=False),
        ),
    ),
    processor="ChineseCLIPImageProcessor",
    embed=(("", "projection_dim"), ("vision_config", "projection_dim")),
)
ALT_CLIP = Model(
    "altclip",
    "AltCLIPModel",
    (_vision("altclip_vision_model", vision_table("layer")),),
    (
        Part(
            BertConfig,
            "XLM-R with a projection",
            ALT,
            read=_read_alt,
            write=_write_alt,
            fits=lambda tower: bool(tower.dense) and _fits(True, pooled_norm=True)(tower),
        ),
    ),
    embed=(("", "projection_dim"), ("vision_config", "projection_dim")),
    renamed=((r"^vision_model\.encoder\.layers\.", "vision_model.encoder.layer."),),
)
DUAL = Model(
    "vision-text-dual-encoder",
    "VisionTextDualEncoderModel",
    (
        dataclasses.replace(IMAGE, read=_read_clip_vision),
        Part(
            VitConfig,
            "vision transformer with a pooler",
            VIT,
            VIT_MARKER,
            read=_read_vit,
            write=_write_vit,
            fits=_is_vit,
        ),
        Part(
            VitConfig,
            "vision transformer with attention pooling",
            {**SIGLIP_IMAGE.table, "visual/proj": turned("visual_projection.weight")},
            "vision_model.head.probe",
            read=_read_siglip_vision,
            write=SIGLIP_IMAGE.write,
            fits=lambda tower: is_image(tower, "matrix"),
        ),
    ),
    (
        Part(
            BertConfig,
            "BERT with a pooler",
            POOLED,
            read=_read_pooled,
            write=_write_pooled,
            fits=_is_pooled,
        ),
        dataclasses.replace(TEXT_PART, marker="text_model.embeddings.token_embedding.weight"),
    ),
    processor="ViTImageProcessor",
    embed=(("", "projection_dim"),),
    # of a CLIPVisionModel that earlier releases kept inside
    renamed=((r"^(vision|text)_model\.\1_model\.", r"\1_model."),),
)
