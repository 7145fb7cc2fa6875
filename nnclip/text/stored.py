"""The tokenizer that a model's file carries, held against the rows of its token table."""

from pathlib import Path
from typing import Any

from nnclip.errors import CheckpointError, DataError
from nnclip.text.around import Around
from nnclip.text.foreign import ForeignTokenizer
from nnclip.text.tokenizer import Tokenizer, openai_tokenizer, tokenizer_from_json


def own_tokenizer(stored: Any, rows: int, path: str | Path, table: str) -> Tokenizer:
    """A byte-level BPE laid out as CLIP's: the stored one, else OpenAI's.

    Args:
        stored: the JSON of `Tokenizer.to_json`, or nothing.
        rows: of the token table, as many as there are tokens.
        path: the file, for errors.
        table: name of the token table, for errors.

    Raises:
        CheckpointError: it has another number of tokens.
        DataError: what is stored is none.
    """
    tokenizer = tokenizer_from_json(stored, str(path)) if stored else openai_tokenizer()
    if tokenizer.vocab_size != rows:
        raise CheckpointError(
            f"{path}: tensor {table}: found {rows} rows, expected {tokenizer.vocab_size}, "
            "the size of the vocabulary"
        )
    return tokenizer


def foreign_tokenizer(
    stored: Any,
    pad: int,
    rows: int,
    path: str | Path,
    table: str,
    around: Around = Around(),  # noqa: B008, it is frozen
) -> ForeignTokenizer:
    """The tokenizer of another encoder, which its file must carry.

    Args:
        stored: the content of its tokenizer.json.
        pad: the id that fills up short texts.
        rows: of the token table, which may be filled up to a round number.
        path: the file, for errors.
        table: name of the token table, for errors.
        around: what is done before and after it.

    Raises:
        CheckpointError: there is none, it is damaged, or it has more tokens than the table rows.
    """
    if not isinstance(stored, str):
        raise CheckpointError(
            f"{path}: found no tokenizer in its metadata, expected that of its text encoder; "
            "convert the encoder again, with its tokenizer.json beside it"
        )
    try:
        tokenizer = ForeignTokenizer(stored, pad, str(path), around)
    except DataError as error:
        raise CheckpointError(str(error)) from error
    if tokenizer.vocab_size > rows:
        raise CheckpointError(
            f"{path}: tensor {table}: found {rows} rows, expected at least "
            f"{tokenizer.vocab_size}, the size of the vocabulary"
        )
    return tokenizer
