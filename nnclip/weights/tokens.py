"""The tokenizer that belongs to a model: the one that its file carries, or OpenAI's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnclip.errors import CheckpointError, DataError
from nnclip.graph.config import AnyTextConfig, BertConfig
from nnclip.text import AnyTokenizer, ForeignTokenizer, openai_tokenizer, tokenizer_from_json


def tokenizer_of(
    config: AnyTextConfig, metadata: Mapping[str, Any], path: str | Path
) -> AnyTokenizer:
    """The tokenizer of a text tower.

    Args:
        config: the tower.
        metadata: of its file; `tokenizer` holds the JSON of one.
        path: the file, for errors.

    Raises:
        CheckpointError: it does not fit the tower's table, or an encoder that needs one has none.
        DataError: a trained vocabulary is none.
    """
    stored = metadata.get("tokenizer")
    if isinstance(config, BertConfig):
        return _foreign(config, stored, path)
    tokenizer = tokenizer_from_json(stored, str(path)) if stored else openai_tokenizer()
    if tokenizer.vocab_size != config.vocabulary:
        raise CheckpointError(
            f"{path}: tensor token_embedding/W: found {config.vocabulary} rows, expected "
            f"{tokenizer.vocab_size}, the size of the vocabulary"
        )
    return tokenizer


def _foreign(config: BertConfig, stored: Any, path: str | Path) -> ForeignTokenizer:
    if not isinstance(stored, str):
        raise CheckpointError(
            f"{path}: found no tokenizer in its metadata, expected that of its text encoder; "
            "convert the encoder again, with its tokenizer.json beside it"
        )
    try:
        tokenizer = ForeignTokenizer(stored, config.pad, str(path))
    except DataError as error:
        raise CheckpointError(str(error)) from error
    if tokenizer.vocab_size > config.vocabulary:  # the table may be filled up to a round number
        raise CheckpointError(
            f"{path}: tensor bert/token_embedding/W: found {config.vocabulary} rows, expected at "
            f"least {tokenizer.vocab_size}, the size of the vocabulary"
        )
    return tokenizer
