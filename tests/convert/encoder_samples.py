"""Small text encoders, saved in every layout by the code that they belong to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from tests.lazy import lazy

torch = lazy("torch")
transformers = lazy("transformers")

WORDS = ["a", "dog", "hund", "perro", "собака", "犬", "cat", "on", "the", "grass", "##s"]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
VOCABULARY = len(WORDS) + len(SPECIALS) + 2  # a table may have more rows than there are words
SIZES = {"vocab_size": VOCABULARY, "num_hidden_layers": 2, "num_attention_heads": 3}
BERT = {**SIZES, "hidden_size": 48, "intermediate_size": 80, "max_position_embeddings": 40}
DISTILBERT = {
    "vocab_size": VOCABULARY,
    "dim": 48,
    "hidden_dim": 80,
    "n_layers": 2,
    "n_heads": 3,
    "max_position_embeddings": 40,
}


def tokenizer_json(pad: int) -> str:
    """A small WordPiece tokenizer whose padding has this id."""
    specials = SPECIALS[1 : pad + 1] + SPECIALS[:1] + SPECIALS[pad + 1 :]
    ids = {word: number for number, word in enumerate(specials + WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.BertNormalizer()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    return made.to_str()


def lively(model: Any) -> Any:
    """With gains and biases that are not 1 and 0, which would hide an exchange."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@dataclass(frozen=True)
class Sample:
    """An encoder as its own code saved it."""

    encoder: Any
    path: Path
    pooling: str = "first"
    projection: torch.nn.Linear | None = None
    arguments: tuple[str, ...] = ()
    plain: bool = False  # whether it can be written back

    def features(self, texts: list[str]) -> np.ndarray:
        """By transformers' own tokenizer and model."""
        file = str(next(self.path.rglob("tokenizer.json")))
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=file, pad_token="[PAD]")
        assert tokenizer.pad_token_id == self.encoder.config.pad_token_id
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        with torch.no_grad():
            tokens = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            if self.pooling == "first":
                pooled = tokens[:, 0]
            else:
                pooled = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            return (pooled if self.projection is None else self.projection(pooled)).numpy()


def folder_with(folder: Path, pad: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer_json(pad))
    return folder


def bert(folder: Path) -> Sample:
    """As BertModel saves itself: no prefix, a pooler."""
    torch.manual_seed(0)
    model = lively(transformers.BertModel(transformers.BertConfig(**BERT)))
    model.save_pretrained(folder_with(folder, 0))
    return Sample(model, folder, plain=True)


def bert_of_old(folder: Path) -> Sample:
    """As Google's first conversions: a .bin with gamma and beta, `bert.`, and heads."""
    torch.manual_seed(1)
    whole = lively(transformers.BertForPreTraining(transformers.BertConfig(**BERT)))
    whole.config.save_pretrained(folder_with(folder, 0))
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in whole.state_dict().items()
    }
    torch.save(old, folder / "pytorch_model.bin")
    return Sample(whole.bert, folder, "mean", arguments=("--pooling", "mean"))


def xlm_roberta(folder: Path) -> Sample:
    """As the published one: trained to guess masked words, in several files."""
    torch.manual_seed(2)
    config = transformers.XLMRobertaConfig(**BERT, layer_norm_eps=1e-5, pad_token_id=1)
    whole = lively(transformers.XLMRobertaForMaskedLM(config))
    whole.save_pretrained(folder_with(folder, 1), max_shard_size="50KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    return Sample(whole.roberta, folder)


def roberta(folder: Path) -> Sample:
    torch.manual_seed(3)
    config = transformers.RobertaConfig(**BERT, pad_token_id=1)
    model = lively(transformers.RobertaModel(config, add_pooling_layer=False))
    model.half().save_pretrained(folder_with(folder, 1))
    return Sample(model.float(), folder, plain=True)


def distilbert(folder: Path) -> Sample:
    torch.manual_seed(4)
    model = lively(transformers.DistilBertModel(transformers.DistilBertConfig(**DISTILBERT)))
    model.save_pretrained(folder_with(folder, 0))
    return Sample(model, folder, plain=True)


def sentence_transformers(folder: Path) -> Sample:
    """As clip-ViT-B-32-multilingual-v1: DistilBERT, the mean, a projection without bias."""
    torch.manual_seed(5)
    model = lively(transformers.DistilBertModel(transformers.DistilBertConfig(**DISTILBERT)))
    model.save_pretrained(folder_with(folder / "0_Transformer", 0))
    (folder / "0_Transformer" / "sentence_bert_config.json").write_text('{"max_seq_length": 24}')
    linear = torch.nn.Linear(48, 20, bias=False)
    kinds = {"0_Transformer": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for path in ("1_Pooling", "2_Dense"):
        (folder / path).mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 48, "pooling_mode_mean_tokens": True})
    )
    (folder / "2_Dense" / "config.json").write_text(
        json.dumps({"bias": False, "activation_function": "torch.nn.modules.linear.Identity"})
    )
    torch.save({"linear.weight": linear.weight.detach()}, folder / "2_Dense" / "pytorch_model.bin")
    return Sample(model, folder, "mean", linear)


def m_clip(folder: Path) -> Sample:
    """XLM-R below `transformer.`, named but not described; the mean; a projection with a bias."""
    torch.manual_seed(6)
    sizes = {**BERT, "hidden_size": 128, "num_attention_heads": 2, "pad_token_id": 1}
    config = transformers.XLMRobertaConfig(**sizes, layer_norm_eps=1e-5)
    model, linear = lively(transformers.XLMRobertaModel(config)), torch.nn.Linear(128, 20)
    state = {f"transformer.{name}": tensor for name, tensor in model.state_dict().items()}
    state |= {f"LinearTransformation.{k}": t for k, t in linear.state_dict().items()}
    torch.save(state, folder_with(folder, 1) / "pytorch_model.bin")
    (folder / "config.json").write_text(
        json.dumps({"model_type": "M-CLIP", "modelBase": "xlm-roberta-base", "numDims": 20})
    )
    return Sample(model, folder, "mean", linear)


SAMPLES: dict[str, Callable[[Path], Sample]] = {
    make.__name__: make
    for make in (
        bert,
        bert_of_old,
        xlm_roberta,
        roberta,
        distilbert,
        sentence_transformers,
        m_clip,
    )
}
