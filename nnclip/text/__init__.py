"""Texts: cleaning, tokens, prompts and class names."""

from nnclip.text.foreign import ForeignTokenizer
from nnclip.text.tokenizer import (
    Tokenizer,
    end_of_text_positions,
    load_tokenizer,
    openai_tokenizer,
    tokenizer_from_json,
)
from nnclip.text.train import train_tokenizer

AnyTokenizer = Tokenizer | ForeignTokenizer

__all__ = [
    "AnyTokenizer",
    "ForeignTokenizer",
    "Tokenizer",
    "end_of_text_positions",
    "load_tokenizer",
    "openai_tokenizer",
    "tokenizer_from_json",
    "train_tokenizer",
]
