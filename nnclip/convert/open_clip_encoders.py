"""Encoders of transformers as open_clip's text towers: RoBERTa, XLM-R and NLLB.

open_clip_config.json names the encoder and its pooling; heads, epsilon and the id of the padding
are those of the named encoder, which stand in no file of the folder.

Source: https://github.com/mlfoundations/open_clip, src/open_clip/hf_model.py.
"""

from typing import Any

from nnclip.convert import bert
from nnclip.convert.dialect import Settings, Source
from nnclip.convert.families import FILE, SIZES, Family, check
from nnclip.convert.names import Table, below, in_blocks, same, split
from nnclip.errors import CheckpointError
from nnclip.graph.bert import BertConfig
from nnclip.graph.nllb import CONTEXT, NllbConfig

ROBERTAS = ("roberta-base", "roberta-large", "xlm-roberta-base", "xlm-roberta-large")
NLLBS = ("nllb-200-distilled-600M", "nllb-200-distilled-1.3B", "nllb-200-1.3B")
# name -> rows of its token table, width, layers
SIZED = {
    "roberta-base": (50265, 768, 12),
    "xlm-roberta-base": (250002, 768, 12),
    "xlm-roberta-large": (250002, 1024, 24),
}
HIDDEN = {  # the same and the width of the MLP
    "facebook/nllb-200-distilled-600M": (256206, 1024, 12, 4096),
    "facebook/nllb-200-distilled-1.3B": (256206, 1024, 24, 8192),
}
PAD = 1  # of all of them
MLP, LINEAR = "mlp", "linear"
POOLERS = {"mean_pooler": "mean", "cls_last_hidden_state_pooler": "first"}
FIRST = ("cls_pooler", "cls_last_hidden_state_pooler")  # where there is no pooler of the encoder's
CFG = {
    **dict.fromkeys(("hf_model_name", "hf_tokenizer_name", "context_length"), SIZES),
    **dict.fromkeys(("tokenizer_kwargs", "hf_proj_type", "hf_model_pretrained"), SIZES),
    "output_tokens": SIZES,  # more output, the same features
    "tokenizer_mode": (None,),
    # of open_clip's own text transformer, and without effect
    **dict.fromkeys(("width", "heads", "layers", "vocab_size", "mlp_ratio"), SIZES),
}
ENCODER = {k: rule for k, rule in bert.BERT.items() if not k.startswith("bert/projection")}
DROPPED = (  # below `text.transformer.`; embed_positions holds sines
    r"text\.transformer\.(embeddings\.(position|token_type)_ids|pooler\.dense\.(weight|bias)"
    r"|embed_positions\.weights)"
)


def _both(published: str, foreign: str) -> Table:
    return {f"{published}/W": same(f"{foreign}.weight"), f"{published}/b": same(f"{foreign}.bias")}


BLOCK = {
    **{
        f"attn/in_proj_{ours}": split(*(f"self_attn.{one}_proj.{theirs}" for one in "qkv"))
        for ours, theirs in (("W", "weight"), ("b", "bias"))
    },
    **_both("attn/out_proj", "self_attn.out_proj"),
    **_both("ln_1", "self_attn_layer_norm"),
    **_both("mlp/c_fc", "fc1"),
    **_both("mlp/c_proj", "fc2"),
    **_both("ln_2", "final_layer_norm"),
}
NLLB_TABLE: Table = {
    "nllb/token_embedding/W": same("transformer.embed_tokens.weight"),
    **in_blocks("nllb/transformer/resblocks/{}/", "transformer.layers.{}.", BLOCK),
    **_both("nllb/ln_final", "transformer.layer_norm"),
    "nllb/projection/W": same("proj.weight"),
}
MLP_TABLE: Table = {
    **below("transformer.", ENCODER),
    "bert/dense/W": same("proj.0.weight"),
    "bert/projection/W": same("proj.2.weight"),
}
LINEAR_TABLE: Table = {**below("transformer.", ENCODER), "bert/projection/W": same("proj.weight")}


def _name(cfg: Settings) -> str:
    return str(cfg.get("hf_model_name") or "").rpartition("/")[2]


def _describe_roberta(source: Source, model: Settings, cfg: Settings) -> dict[str, Any]:
    check("text_cfg", cfg, {**CFG, "hf_pooler_type": tuple(POOLERS)})
    _check_tokenizer(cfg)
    table = source.tensors.get("text.transformer.embeddings.word_embeddings.weight")
    width = table.shape[1] if table and len(table.shape) == 2 else 768
    return {
        "bert_activation": "gelu",
        "bert_heads": width // 64,
        "bert_eps": 1e-5,
        "bert_context": cfg.get("context_length", CONTEXT),
        "bert_pad": PAD,
        "bert_first_position": PAD + 1,
        "bert_pooling": POOLERS[cfg.get("hf_pooler_type", "mean_pooler")],
        "bert_dense": "gelu",
    }


def _describe_nllb(source: Source, model: Settings, cfg: Settings) -> dict[str, Any]:
    check("text_cfg", cfg, {**CFG, "hf_pooler_type": FIRST, "hf_proj_type": (LINEAR,)})
    told = {"hf_pooler_type": "mean_pooler", "hf_proj_type": MLP, **cfg}  # open_clip's defaults
    for key, wanted in (("hf_pooler_type", FIRST), ("hf_proj_type", (LINEAR,))):
        if told[key] not in wanted:
            raise CheckpointError(
                f"{FILE}: text_cfg: found {key} {told[key]!r}, expected {wanted[0]!r}"
            )
    _check_tokenizer(cfg)
    return {
        "text_activation": "relu",
        "text_heads": 16,
        "text_layer_norm_eps": 1e-5,
        "text_context": cfg.get("context_length", CONTEXT),
    }


def _check_tokenizer(cfg: Settings) -> None:
    told = cfg.get("tokenizer_kwargs") or {}
    check("tokenizer_kwargs", told, {"clean": SIZES, "strip_sep_token": (False,)})


def _roberta_settings(text: BertConfig) -> Settings | None:
    if not text.projection or text.pooled_norm:
        return None
    blocks = text.blocks
    kind = (blocks.activation, blocks.eps, text.pad, text.first_position, text.types)
    sizes = (text.vocabulary, blocks.width, blocks.layers)
    name = next((name for name, known in SIZED.items() if known == sizes), None)
    biased = text.projection_bias or text.dense_bias
    if name is None or kind != ("gelu", 1e-5, PAD, PAD + 1, 1) or biased:
        return None
    pooler = next(name for name, pooling in POOLERS.items() if pooling == text.pooling)
    return {"hf_model_name": name, "hf_pooler_type": pooler, "context_length": text.context}


def _mlp_settings(text: BertConfig) -> Settings | None:
    told = _roberta_settings(text)
    between = text.dense == (text.blocks.width + text.projection) // 2 if told else False
    if told is None or not between or text.dense_activation != "gelu":
        return None
    return {**told, "hf_proj_type": MLP}


def _linear_settings(text: BertConfig) -> Settings | None:
    told = _roberta_settings(text)
    return None if told is None or text.dense else {**told, "hf_proj_type": LINEAR}


def _nllb_settings(text: NllbConfig) -> Settings | None:
    blocks = text.blocks
    sizes = (text.vocabulary, blocks.width, blocks.layers, blocks.hidden)
    name = next((name for name, known in HIDDEN.items() if known == sizes), None)
    if name is None or (blocks.activation, blocks.eps, blocks.heads) != ("relu", 1e-5, 16):
        return None
    return {
        "hf_model_name": name,
        "hf_proj_type": LINEAR,
        "hf_pooler_type": FIRST[0],
        "context_length": text.context,
    }


ROBERTA_MLP = Family(
    BertConfig,
    lambda cfg: _name(cfg) in ROBERTAS and cfg.get("hf_proj_type", MLP) == MLP,
    MLP_TABLE,
    _describe_roberta,
    _mlp_settings,
    custom=True,
)
ROBERTA = Family(
    BertConfig,
    lambda cfg: _name(cfg) in ROBERTAS and cfg.get("hf_proj_type") == LINEAR,
    LINEAR_TABLE,
    _describe_roberta,
    _linear_settings,
    custom=True,
)
NLLB = Family(
    NllbConfig,
    lambda cfg: _name(cfg) in NLLBS,
    NLLB_TABLE,
    _describe_nllb,
    _nllb_settings,
    custom=True,
)
