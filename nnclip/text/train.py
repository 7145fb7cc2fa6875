"""Training a byte-level BPE vocabulary on captions."""

import json
import logging
from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from nnclip.errors import ConfigError, DataError
from nnclip.text.bpe import (
    END_OF_TEXT,
    END_OF_WORD,
    START_OF_TEXT,
    WORDS,
    Merges,
    base_tokens,
    write_bytes,
)
from nnclip.text.clean import clean
from nnclip.text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

_SPECIALS = (START_OF_TEXT, END_OF_TEXT)
_SMALLEST = len(base_tokens()) + len(_SPECIALS)


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int = 20_000,
    min_frequency: int = 2,
    lowercase: bool = False,
) -> Tokenizer:
    """A vocabulary for the language of `texts`: the same texts give the same one.

    Args:
        texts: captions; read once, so a generator over a large file will do.
        vocab_size: tokens in all: 512 for bytes, 2 for start and end, the others merges. Few
            texts may give fewer, which is logged.
        min_frequency: how often a pair must occur to be merged.
        lowercase: lower-case the texts, now and whenever the tokenizer is used. Shorter ids for
            languages where case means little; see `Tokenizer` for where it would do harm.

    Raises:
        ConfigError: `vocab_size` has no room for bytes, start and end.
        DataError: the texts hold no word, or one of them is no `str`.
    """
    if vocab_size < _SMALLEST:
        raise ConfigError(f"vocab_size is {vocab_size}, expected {_SMALLEST} or more")
    trained = tokenizers.Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    trained.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(_SPECIALS),
        min_frequency=min_frequency,
        # Given first, the bytes keep their ids; found in the texts, their order, and with it
        # which of two equally frequent pairs is merged, would differ from run to run.
        special_tokens=base_tokens(),
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    trained.train_from_iterator(_written_words(texts, lowercase), trainer)
    tokenizer = Tokenizer(_merges(trained), lowercase)
    if tokenizer.vocab_size == _SMALLEST:
        raise DataError(
            "the texts hold no pair of letters often enough for a vocabulary: "
            f"give more texts, or a min_frequency below {min_frequency}"
        )
    if tokenizer.vocab_size < vocab_size:
        logger.warning(
            "the texts give %d tokens, %d were asked for", tokenizer.vocab_size, vocab_size
        )
    return tokenizer


def _written_words(texts: Iterable[str], lowercase: bool) -> Iterator[str]:
    """Each text as its words in written bytes, between blanks: what `WhitespaceSplit` undoes."""
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"text {row} is {type(text).__name__} ({text!r:.80}), expected str")
        text = clean(text)
        words = WORDS.findall(text.lower() if lowercase else text)
        yield " ".join(write_bytes(word) for word in words if word not in _SPECIALS)


def _merges(trained: tokenizers.Tokenizer) -> Merges:
    """The merges in order, without those that make a token which another merge already makes."""
    merges: dict[str, tuple[str, str]] = {}
    for first, second in json.loads(trained.to_str())["model"]["merges"]:
        merges.setdefault(first + second, (first, second))
    return tuple(merges.values())
