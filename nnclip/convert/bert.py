"""Dialects of text encoders in Hugging Face's transformers: BERT's names, and DistilBERT's.

RoBERTa and XLM-R have BERT's names; where their positions begin tells them apart. The pooler and
the heads that a checkpoint was trained with are no part of what nnclip reads.

Source: https://github.com/huggingface/transformers, models/bert, distilbert, roberta, xlm_roberta.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nnclip.convert.dialect import (
    Code,
    Dialect,
    Part,
    Settings,
    Source,
    names_of,
    part_of,
    whole_number,
)
from nnclip.convert.names import Table, in_blocks, same, split
from nnclip.convert.transformers_models import (
    activation_of,
    both,
    check_computed,
    written_activation,
)
from nnclip.errors import CheckpointError
from nnclip.graph.bert import BertConfig
from nnclip.graph.towers import TextTower, Tower
from nnclip.json_text import brief

FILE, TOKENIZER = "config.json", "tokenizer.json"
POOLING = "pooling.json"  # what a layout says of pooling and length; no file has this name
MOST_TOKENS = 128  # of a text, where nothing says otherwise
ROBERTA = ("roberta", "xlm-roberta")  # whose positions begin after the padding's id
MODEL_TYPES = ("bert", "distilbert", *ROBERTA)
# settings that change what the same tensors compute -> the values that nnclip computes
COMPUTED = {
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
}


def _table(parts: Mapping[str, str], queries: tuple[str, str, str], blocks: str) -> Table:
    """The table of a dialect.

    Args:
        parts: layer of a block -> its name in the dialect.
        queries: the names of queries, keys and values.
        blocks: what stands before the names of a block.
    """
    block = {
        f"attn/in_proj_{ours}": split(*(f"{q}.{theirs}" for q in queries))
        for ours, theirs in (("W", "weight"), ("b", "bias"))
    }
    for ours, theirs in parts.items():
        block |= both(ours, theirs)
    return {
        "bert/token_embedding/W": same("embeddings.word_embeddings.weight"),
        "bert/positional_embedding": same("embeddings.position_embeddings.weight"),
        "bert/type_embedding": same("embeddings.token_type_embeddings.weight"),
        **both("bert/ln_embedding", "embeddings.LayerNorm"),
        **in_blocks("bert/transformer/resblocks/{}/", blocks, block),
        **both("bert/projection", "projection"),
    }


BERT = _table(
    {
        "attn/out_proj": "attention.output.dense",
        "ln_1": "attention.output.LayerNorm",
        "mlp/c_fc": "intermediate.dense",
        "mlp/c_proj": "output.dense",
        "ln_2": "output.LayerNorm",
    },
    ("attention.self.query", "attention.self.key", "attention.self.value"),
    "encoder.layer.{}.",
)
DISTILBERT = _table(
    {
        "attn/out_proj": "attention.out_lin",
        "ln_1": "sa_layer_norm",
        "mlp/c_fc": "ffn.lin1",
        "mlp/c_proj": "ffn.lin2",
        "ln_2": "output_layer_norm",
    },
    ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    "transformer.layer.{}.",
)
# positions and types that are counted, the pooler, and heads for masked words and next sentences
DROPPED = (
    r"embeddings\.(position|token_type)_ids|pooler\.dense\.(weight|bias)"
    r"|(cls|lm_head|vocab_transform|vocab_layer_norm|vocab_projector|classifier|pre_classifier"
    r"|qa_outputs)\..*"
)


def _is_bert(source: Source) -> bool:
    """Whether the names are those of the encoder of BERT, RoBERTa or XLM-R."""
    return "encoder.layer.0.attention.self.query.weight" in source.tensors


def _is_distilbert(source: Source) -> bool:
    """Whether the names are those of DistilBERT's encoder."""
    return "transformer.layer.0.attention.q_lin.weight" in source.tensors


def describe(source: Source) -> dict[str, Any]:
    """What config.json and the layout around it say; CheckpointError if nnclip cannot compute it.

    What is absent has transformers' defaults: it writes only what differs from them.
    """
    whole = source.settings.get(FILE)
    if whole is None:
        raise CheckpointError(f"found no {FILE} beside it, expected the one that tells its heads")
    kind = kind_of(whole)
    told = source.settings.get(POOLING, {})
    context = whole_number(told, "max_seq_length", MOST_TOKENS)
    found = read_encoder(whole, kind in ROBERTA)
    table = source.tensors.get("embeddings.position_embeddings.weight")
    positions = table.shape[:1] if table else ()
    first = found["bert_first_position"]
    return {
        **found,
        "bert_context": min([context, *(rows - first for rows in positions)]),
        "bert_pooling": told.get("pooling", "first"),
    }


def read_encoder(cfg: Settings, roberta: bool) -> dict[str, Any]:
    """Metadata of an encoder that its own settings tell; CheckpointError if it is not computed.

    Args:
        cfg: the settings.
        roberta: whether positions are counted from the padding's id on.
    """
    check_computed("the text encoder", cfg, COMPUTED)
    pad = whole_number(cfg, "pad_token_id", 1 if roberta else 0)
    return {
        "bert_activation": activation_of(cfg, "gelu"),
        "bert_heads": cfg.get("num_attention_heads", cfg.get("n_heads", 12)),
        "bert_eps": cfg.get("layer_norm_eps", 1e-12),
        "bert_pad": pad,
        "bert_first_position": pad + 1 if roberta else 0,
    }


def kind_of(whole: Settings) -> str:
    """The model_type that config.json names; CheckpointError if nnclip has no such encoder."""
    kind = whole.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_TYPES:
        raise CheckpointError(
            f"{FILE}: found the model_type {brief(kind)}, which nnclip does not know; of text "
            f"encoders it knows {', '.join(MODEL_TYPES)} (docs/models.md)"
        )
    return kind


def carried(source: Source, config: TextTower) -> dict[str, Any]:
    """The tokenizer, which the .h5 carries; CheckpointError if there is none or it does not fit."""
    if source.tokenizer is None:
        raise CheckpointError(
            f"found no {TOKENIZER} beside it, expected the encoder's; in a folder with its "
            'vocabulary, python -c "from transformers import AutoTokenizer as A; '
            "A.from_pretrained('.').save_pretrained('.')\" writes one"
        )
    told = {"tokenizer": source.tokenizer}
    config.tokenizer(told, TOKENIZER)
    return told


def _settings_of(texts: tuple[Part, ...], tower: Tower) -> dict[str, Settings]:
    """The file that `AutoModel.from_pretrained` reads."""
    told = part_of(texts, tower, "these encoders").write(tower)
    if width := told.pop("projection"):
        raise CheckpointError(
            f"found features projected to {width}, but this code has no projection"
        )
    return {FILE: told}


def settings_of_bert(tower: Tower) -> dict[str, Settings]:
    """The file of an encoder of BERT or XLM-R."""
    return _settings_of(BERTS, tower)


def settings_of_distilbert(tower: Tower) -> dict[str, Settings]:
    """The file of an encoder of DistilBERT."""
    return _settings_of(DISTILBERTS, tower)


def _write_bert(tower: BertConfig) -> dict[str, Any]:
    roberta = tower.first_position > 0
    if not tower.types:
        raise CheckpointError("found no token types: use --dialect distilbert")
    if roberta and tower.first_position != tower.pad + 1:
        raise CheckpointError(
            f"found positions from {tower.first_position} on, expected {tower.pad + 1}"
        )
    return {
        "architectures": ["XLMRobertaModel" if roberta else "BertModel"],
        "model_type": "xlm-roberta" if roberta else "bert",
        **written_encoder(tower),
        "projection": tower.projection,
    }


def written_encoder(tower: BertConfig) -> dict[str, Any]:
    """The settings of an encoder of BERT's names, without its kind."""
    blocks = tower.blocks
    return {
        "hidden_act": written_activation(blocks),
        "hidden_size": blocks.width,
        "intermediate_size": blocks.hidden,
        "layer_norm_eps": blocks.eps,
        "max_position_embeddings": tower.positions,
        "num_attention_heads": blocks.heads,
        "num_hidden_layers": blocks.layers,
        "pad_token_id": tower.pad,
        "type_vocab_size": tower.types,
        "vocab_size": tower.vocabulary,
    }


def _write_distilbert(tower: BertConfig) -> dict[str, Any]:
    blocks = tower.blocks
    if tower.types or tower.first_position or blocks.eps != 1e-12:
        raise CheckpointError(
            f"found {tower.types} token types, positions from {tower.first_position} on and an "
            f"epsilon of {blocks.eps:g}, but DistilBERT has 0, 0 and 1e-12: use --dialect bert"
        )
    return {
        "architectures": ["DistilBertModel"],
        "model_type": "distilbert",
        "activation": written_activation(blocks),
        "dim": blocks.width,
        "hidden_dim": blocks.hidden,
        "max_position_embeddings": tower.positions,
        "n_heads": blocks.heads,
        "n_layers": blocks.layers,
        "pad_token_id": tower.pad,
        "vocab_size": tower.vocabulary,
        "projection": tower.projection,
    }


def _build(told: dict[str, Any], tower: BertConfig, **pooler: Any) -> Any:
    """The encoder of these settings, and the projection that transformers lacks."""
    import torch
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    width, kind = told.pop("projection"), told.pop("architectures")[0]
    settings = getattr(transformers, kind.replace("Model", "Config"))(**told)
    model = getattr(transformers, kind)(settings, **pooler)
    if width:
        model.projection = torch.nn.Linear(tower.blocks.width, width, tower.projection_bias)
    return model


def tokens_and_features(model: Any, tower: BertConfig, ids_NL: np.ndarray) -> tuple[Any, Any]:
    """Tokens (N, L, D) and features (N, E) of texts as torch's tensors, differentiable.

    Source: sentence-transformers' Pooling and Dense; M-CLIP's MultilingualCLIP.forward.
    """
    import torch

    ids, mask = torch.from_numpy(ids_NL.astype(np.int64)), torch.from_numpy(ids_NL != tower.pad)
    tokens_NLD = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    if tower.pooling == "first":
        pooled_ND = tokens_NLD[:, 0]
    else:
        pooled_ND = (tokens_NLD * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    return tokens_NLD, model.projection(pooled_ND) if tower.projection else pooled_ND


def _features(model: Any, tower: BertConfig, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {"text": tokens_and_features(model, tower, inputs["text"])[1]}


def _code(build: Callable[[BertConfig], Any]) -> Code:
    return Code("transformers", "transformers", build, _features)


BERTS = (Part(BertConfig, "BERT encoder", BERT, write=_write_bert),)
DISTILBERTS = (Part(BertConfig, "DistilBERT", DISTILBERT, write=_write_distilbert),)
DIALECT = Dialect(
    "bert",
    names_of("BERT", (), BERTS),
    DROPPED,
    _is_bert,
    describe,
    settings_of_bert,
    _code(lambda tower: _build(_write_bert(tower), tower, add_pooling_layer=False)),
    settings=(FILE,),
    file="model.safetensors",
    side="text",
    carried=carried,
)
DISTILBERT_DIALECT = Dialect(
    "distilbert",
    names_of("DistilBERT", (), DISTILBERTS),
    DROPPED,
    _is_distilbert,
    describe,
    settings_of_distilbert,
    _code(lambda tower: _build(_write_distilbert(tower), tower)),
    settings=(FILE,),
    file="model.safetensors",
    side="text",
    carried=carried,
)
