"""Small models of transformers with random weights, saved with their processor and tokenizer."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnclip.text.tokenizer import Tokenizer
from tests.convert.encoder_samples import lively
from tests.lazy import lazy

torch = lazy("torch")
transformers = lazy("transformers")

WORDS = ["a", "photo", "of", "cat", "two", "red", "cars", "in", "the", "snow", "ok", "quick", "fox"]
LETTERS = list("abcdefghijklmnopqrstuvwxyz!,._")
SIZES = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
}
VISION = {**SIZES, "hidden_size": 32, "num_attention_heads": 2, "image_size": 40, "patch_size": 16}
POSITIONS = 16
CLEANING = ("canonicalize_text", "remove_punctuation")


def word_pieces(folder: Path, **settings: Any) -> Any:
    """BERT's tokenizer; `[PAD]` 0."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*specials, *WORDS, *LETTERS, *(f"##{c}" for c in LETTERS)]
    vocab = {word: row for row, word in enumerate(dict.fromkeys(words))}
    made = transformers.BertTokenizer(vocab=vocab, **settings)
    made.save_pretrained(folder)
    return made


def unigram(folder: Path, **settings: Any) -> Any:
    """XLM-R's tokenizer: `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3."""
    marked = [f"▁{word}" for word in WORDS]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *marked, *LETTERS, *map(str.upper, LETTERS)]
    vocab = [(piece, -float(i > 3)) for i, piece in enumerate(dict.fromkeys(pieces))]
    vocab.append(("<mask>", 0.0))
    made = transformers.XLMRobertaTokenizer(vocab=vocab, **settings)
    made.save_pretrained(folder)
    return made


def gemma(folder: Path, **settings: Any) -> Any:
    """SigLIP 2's tokenizer: `<pad>` 0, `<eos>` 1, `<bos>` 2."""
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁"]
    vocab = {piece: row for row, piece in enumerate(dict.fromkeys([*specials, *LETTERS]))}
    told = {"add_bos_token": False, "add_eos_token": True, "model_input_names": ["input_ids"]}
    made = transformers.Siglip2Tokenizer(vocab=vocab, merges=[], **{**told, **settings})
    made.save_pretrained(folder)
    return made


class Canonical:
    """SigLIP's tokenizer, whose own class needs sentencepiece: its cleaning, then its JSON."""

    def __init__(self, folder: Path) -> None:
        made = unigram(folder, pad_token="</s>")
        tree = json.loads((folder / "tokenizer.json").read_text())
        tree["post_processor"]["single"].pop(0)
        (folder / "tokenizer.json").write_text(json.dumps(tree))
        told = {"tokenizer_class": "SiglipTokenizer", "pad_token": "</s>", "eos_token": "</s>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(told))
        file = str(folder / "tokenizer.json")
        self._made = transformers.PreTrainedTokenizerFast(tokenizer_file=file, pad_token="</s>")
        self.vocab_size = made.vocab_size

    def __len__(self) -> int:
        return self.vocab_size

    def __call__(self, texts: list[str], **settings: Any) -> Any:
        methods = _methods_of_siglip()
        self.do_lower_case = True
        self.remove_punctuation = functools.partial(methods["remove_punctuation"], self)
        clean = [methods["canonicalize_text"](self, text) for text in texts]
        return self._made(clean, **settings)


@functools.cache
def _methods_of_siglip() -> dict[str, Any]:
    """The methods of SiglipTokenizer, out of a class that cannot be imported here."""
    spec = importlib.util.find_spec("transformers.models.siglip.tokenization_siglip")
    assert spec is not None and spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text())
    whole = next(n for n in tree.body if getattr(n, "name", "") == "SiglipTokenizer")
    assert isinstance(whole, ast.ClassDef)
    tree.body = [n for n in whole.body if getattr(n, "name", "") in CLEANING]
    found: dict[str, Any] = {"re": re, "string": string}
    exec(compile(tree, spec.origin, "exec"), found)
    return found


@dataclass(frozen=True)
class Sample:
    """A model as its own code saved it.

    Attributes:
        model: the model.
        path: its folder.
        tokenizer: its tokenizer; None for CLIP's.
        length: of every row of ids, 0 for that of the longest text.
        masked: whether the model is told of padding.
        longest: tokens of the longest text.
    """

    model: Any
    path: Path
    tokenizer: Any = None
    length: int = 0
    masked: bool = False
    longest: int = POSITIONS

    def inputs(self, texts: list[str]) -> dict[str, Any]:
        """What the model's text tower gets."""
        length = {"padding": "max_length", "max_length": self.length} if self.length else {}
        told = self.tokenizer(
            texts,
            return_tensors="pt",
            truncation=True,
            **{"padding": True, "max_length": self.longest, **length},
        )
        names = ("input_ids", "attention_mask") if self.masked else ("input_ids",)
        return {name: told[name] for name in names}


def made(code: str, vision: dict[str, Any], text: dict[str, Any], **more: Any) -> Any:
    torch.manual_seed(4)
    config = getattr(transformers, code.replace("Model", "Config"))
    settings = config(vision_config={**VISION, **vision}, text_config={**SIZES, **text}, **more)
    model = lively(getattr(transformers, code)(settings))
    with torch.no_grad():
        model.logit_scale.fill_(2.3)
    return model


def images(folder: Path, name: str, side: int = 40) -> None:
    """The file of an image processor of transformers."""
    processor = getattr(transformers, f"{name}Pil")
    keys = {"Siglip": ("height", "width"), "ViT": ("height", "width")}
    size = dict.fromkeys(
        next((k for n, k in keys.items() if name.startswith(n)), ("shortest_edge",)), side
    )
    crop = {} if "height" in size else {"crop_size": {"height": side, "width": side}}
    processor(size=size, **crop).save_pretrained(folder)


def clip(folder: Path) -> Sample:
    """Towers that differ in activation and epsilon; a tokenizer whose end is not its last token."""
    tokenizer = word_pieces(folder)
    told = {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS, "eos_token_id": 3}
    model = made(
        "CLIPModel",
        {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6},
        {**told, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
        projection_dim=20,
    )
    model.save_pretrained(folder)
    images(folder, "CLIPImageProcessor")
    return Sample(model, folder, tokenizer)


def clip_own_words(folder: Path) -> Sample:
    """A vocabulary laid out as CLIP's, and another one."""
    own = Tokenizer((("c", "a"), ("ca", "t</w>"), ("r", "e"), ("re", "d</w>")))
    own.save(folder / "tokenizer.json")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="<|endoftext|>"
    )
    told = {"vocab_size": own.vocab_size, "max_position_embeddings": 77, "eos_token_id": own.eot}
    model = made("CLIPModel", {}, told, projection_dim=20)
    model.save_pretrained(folder)
    images(folder, "CLIPImageProcessor")
    return Sample(model, folder, tokenizer, longest=77)


def metaclip_2(folder: Path) -> Sample:
    tokenizer = unigram(folder)
    told = {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS, "eos_token_id": 2}
    model = made("MetaClip2Model", {}, told, projection_dim=20)
    model.save_pretrained(folder)
    images(folder, "CLIPImageProcessor")
    return Sample(model, folder, tokenizer)


def siglip(folder: Path) -> Sample:
    """Texts are cleaned by the tokenizer's class; filled up with the id of their end."""
    tokenizer = Canonical(folder)
    told = {"vocab_size": len(tokenizer) + 3, "max_position_embeddings": POSITIONS}
    model = made("SiglipModel", {}, {**told, "projection_size": 32})
    model.save_pretrained(folder)
    images(folder, "SiglipImageProcessor")
    return Sample(model, folder, tokenizer, POSITIONS)


def siglip_2(folder: Path) -> Sample:
    """A checkpoint of SigLIP 2 with one resolution."""
    tokenizer = gemma(folder, padding_side="right")
    told = {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS}
    model = made("SiglipModel", {}, {**told, "projection_size": 32, "num_attention_heads": 4})
    model.save_pretrained(folder)
    images(folder, "SiglipImageProcessor")
    return Sample(model, folder, tokenizer, POSITIONS)


def siglip_left(folder: Path) -> Sample:
    """Texts are filled up before their first token, as the class does where nothing is said."""
    tokenizer = gemma(folder)
    assert tokenizer.padding_side == "left"
    told = {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS}
    model = made("SiglipModel", {}, {**told, "projection_size": 32})
    model.save_pretrained(folder)
    images(folder, "SiglipImageProcessor")
    return Sample(model, folder, tokenizer, POSITIONS)


def siglip_2_naflex(folder: Path) -> Sample:
    """Images keep their shape; more patches than positions."""
    tokenizer = gemma(folder, padding_side="right")
    told = {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS}
    vision = {"num_patches": 16, "patch_size": 8}
    model = made("Siglip2Model", vision, {**told, "projection_size": 32})
    model.save_pretrained(folder)
    transformers.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=20).save_pretrained(folder)
    return Sample(model, folder, tokenizer, POSITIONS)


def chinese_clip(folder: Path) -> Sample:
    """As published: vocab.txt alone, no tokenizer.json."""
    tokenizer = word_pieces(folder)
    tree = json.loads((folder / "tokenizer.json").read_text())
    (folder / "vocab.txt").write_text("\n".join(tree["model"]["vocab"]))
    (folder / "tokenizer.json").unlink()
    told = {"vocab_size": len(tokenizer), "max_position_embeddings": 24}
    model = made("ChineseCLIPModel", {}, told, projection_dim=20)
    model.save_pretrained(folder)
    images(folder, "ChineseCLIPImageProcessor")
    return Sample(model, folder, tokenizer, masked=True, longest=24)


def altclip(folder: Path) -> Sample:
    tokenizer = unigram(folder, model_max_length=POSITIONS)
    told = {"vocab_size": len(tokenizer), "max_position_embeddings": 24, "project_dim": 28}
    model = made("AltCLIPModel", {}, told, projection_dim=20)
    model.save_pretrained(folder)
    images(folder, "CLIPImageProcessor")
    return Sample(model, folder, tokenizer, masked=True)


def dual(folder: Path, vision: str, text: str, processor: str) -> Sample:
    """Any two models."""
    make = word_pieces if text == "bert" else unigram
    tokenizer = make(folder, model_max_length=POSITIONS)
    pad = tokenizer.pad_token_id
    told = {"vocab_size": len(tokenizer), "max_position_embeddings": 24, "pad_token_id": pad}
    model = made(
        "VisionTextDualEncoderModel",
        {"model_type": vision},
        {"model_type": text, **told},
        projection_dim=20,
    )
    model.save_pretrained(folder)
    images(folder, processor)
    return Sample(model, folder, tokenizer, masked=True)


def dual_vit_bert(folder: Path) -> Sample:
    return dual(folder, "vit", "bert", "ViTImageProcessor")


def dual_clip_roberta(folder: Path) -> Sample:
    return dual(folder, "clip_vision_model", "xlm-roberta", "CLIPImageProcessor")


def dual_siglip_bert(folder: Path) -> Sample:
    return dual(folder, "siglip_vision_model", "bert", "SiglipImageProcessor")


SAMPLES: dict[str, Callable[[Path], Sample]] = {
    make.__name__: make
    for make in (
        clip,
        clip_own_words,
        metaclip_2,
        siglip,
        siglip_2,
        siglip_left,
        siglip_2_naflex,
        chinese_clip,
        altclip,
        dual_vit_bert,
        dual_clip_roberta,
        dual_siglip_bert,
    )
}
