"""Dialects of text encoders in Hugging Face's transformers: BERT's names, and DistilBERT's.

RoBERTa and XLM-R have BERT's names; where their positions begin tells them apart. The pooler and
the heads that a checkpoint was trained with are no part of what nnclip reads.

Source: https://github.com/huggingface/transformers, models/bert, distilbert, roberta, xlm_roberta.
"""

from collections.abc import Mapping
from typing import Any

from nnclip.convert.dialect import Dialect, Settings, Source, whole_number
from nnclip.convert.names import Rule, Table, in_blocks, same, split
from nnclip.errors import CheckpointError
from nnclip.graph.bert import BertConfig
from nnclip.graph.config import ClipConfig
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


def _both(published: str, foreign: str) -> dict[str, Rule]:
    """The rules of a weight and its bias."""
    return {f"{published}/W": same(f"{foreign}.weight"), f"{published}/b": same(f"{foreign}.bias")}


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
        block |= _both(ours, theirs)
    return {
        "bert/token_embedding/W": same("embeddings.word_embeddings.weight"),
        "bert/positional_embedding": same("embeddings.position_embeddings.weight"),
        "bert/type_embedding": same("embeddings.token_type_embeddings.weight"),
        **_both("bert/ln_embedding", "embeddings.LayerNorm"),
        **in_blocks("bert/transformer/resblocks/{}/", blocks, block),
        **_both("bert/projection", "projection"),
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


def is_bert(source: Source) -> bool:
    """Whether the names are those of the encoder of BERT, RoBERTa or XLM-R."""
    return "encoder.layer.0.attention.self.query.weight" in source.tensors


def is_distilbert(source: Source) -> bool:
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
    for key, values in COMPUTED.items():
        if whole.get(key, values[0]) not in values:
            found = brief(whole[key])
            raise CheckpointError(f"{FILE}: found {key} {found}, expected {values[0]!r}")
    roberta = kind in ROBERTA
    told = source.settings.get(POOLING, {})
    pad = whole_number(whole, "pad_token_id", 1 if roberta else 0)
    context = whole_number(told, "max_seq_length", MOST_TOKENS)
    first = pad + 1 if roberta else 0
    table = source.tensors.get("embeddings.position_embeddings.weight")
    positions = table.shape[:1] if table else ()
    return {
        "bert_activation": whole.get("hidden_act", whole.get("activation", "gelu")),
        "bert_heads": whole.get("num_attention_heads", whole.get("n_heads", 12)),
        "bert_eps": whole.get("layer_norm_eps", 1e-12),
        "bert_context": min([context, *(rows - first for rows in positions)]),
        "bert_pad": pad,
        "bert_first_position": first,
        "bert_pooling": told.get("pooling", "first"),
    }


def kind_of(whole: Settings) -> str:
    """The model_type that config.json names; CheckpointError if nnclip has no such encoder."""
    kind = whole.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_TYPES:
        raise CheckpointError(
            f"{FILE}: found the model_type {brief(kind)}, expected one of {', '.join(MODEL_TYPES)}"
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


def _checked(config: ClipConfig | Tower) -> BertConfig:
    if not isinstance(config, BertConfig):
        raise CheckpointError(
            f"found a {type(config).__name__}, but this code knows only BERT's encoder and its kin"
        )
    if config.projection:
        raise CheckpointError(
            f"found features projected to {config.projection}, but this code has no projection"
        )
    return config


def settings_of_bert(config: ClipConfig | Tower) -> dict[str, Settings]:
    """The file that `AutoModel.from_pretrained` reads, as BERT's or XLM-R's."""
    config = _checked(config)
    blocks, roberta = config.blocks, config.first_position > 0
    if not config.types:
        raise CheckpointError("found no token types: use --dialect distilbert")
    if roberta and config.first_position != config.pad + 1:
        raise CheckpointError(
            f"found positions from {config.first_position} on, expected {config.pad + 1}"
        )
    return {
        FILE: {
            "architectures": ["XLMRobertaModel" if roberta else "BertModel"],
            "model_type": "xlm-roberta" if roberta else "bert",
            "hidden_act": blocks.activation,
            "hidden_size": blocks.width,
            "intermediate_size": blocks.hidden,
            "layer_norm_eps": blocks.eps,
            "max_position_embeddings": config.positions,
            "num_attention_heads": blocks.heads,
            "num_hidden_layers": blocks.layers,
            "pad_token_id": config.pad,
            "type_vocab_size": config.types,
            "vocab_size": config.vocabulary,
        }
    }


def settings_of_distilbert(config: ClipConfig | Tower) -> dict[str, Settings]:
    """The file that `AutoModel.from_pretrained` reads, as DistilBERT's."""
    config = _checked(config)
    blocks = config.blocks
    if config.types or config.first_position or blocks.eps != 1e-12:
        raise CheckpointError(
            f"found {config.types} token types, positions from {config.first_position} on and an "
            f"epsilon of {blocks.eps:g}, but DistilBERT has 0, 0 and 1e-12: use --dialect bert"
        )
    return {
        FILE: {
            "architectures": ["DistilBertModel"],
            "model_type": "distilbert",
            "activation": blocks.activation,
            "dim": blocks.width,
            "hidden_dim": blocks.hidden,
            "max_position_embeddings": config.positions,
            "n_heads": blocks.heads,
            "n_layers": blocks.layers,
            "pad_token_id": config.pad,
            "vocab_size": config.vocabulary,
        }
    }


DIALECT = Dialect(
    "bert",
    BERT,
    DROPPED,
    describe,
    settings_of_bert,
    file="model.safetensors",
    side="text",
    carried=carried,
)
DISTILBERT_DIALECT = Dialect(
    "distilbert",
    DISTILBERT,
    DROPPED,
    describe,
    settings_of_distilbert,
    file="model.safetensors",
    side="text",
    carried=carried,
)
