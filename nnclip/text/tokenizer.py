"""Texts to token ids and back: OpenAI's vocabulary of 49,408 tokens, or one trained here."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from nnclip.errors import ConfigError, DataError, TextTooLongError
from nnclip.files import read_regular
from nnclip.json_text import TOKENIZER_BYTES, parse_json
from nnclip.text.bpe import (
    END_OF_TEXT,
    END_OF_WORD,
    START_OF_TEXT,
    WORD_PATTERN,
    WORDS,
    Merges,
    openai_merges,
    read_bytes,
    vocabulary_of,
    write_bytes,
)
from nnclip.text.clean import clean

_MEMO_SIZE = 1 << 16  # pieces of text whose ids are remembered; then the memory starts afresh
_MEMO_PIECE = 64  # characters; longer pieces are seldom seen twice


@dataclass(frozen=True)
class Tokenizer:
    """A byte-level BPE tokenizer; immutable, and safe to use from several threads.

    Attributes:
        merges: pairs of tokens in the order in which they are joined; they define every id.
        lowercase: whether texts are lower-cased first. OpenAI's vocabulary has lower case only.
            Python's rule is right for most languages but not for Turkish or Azeri, where the
            lower case of I is a dotless ı, so vocabularies trained here keep case unless asked.
    """

    merges: Merges = field(repr=False)
    lowercase: bool = True

    def __post_init__(self) -> None:
        _ = self._vocabulary  # a wrong list of merges fails here, not at the first text

    def __reduce__(self) -> tuple[type, tuple[Merges, bool]]:
        return Tokenizer, (self.merges, self.lowercase)

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        return vocabulary_of(self.merges)

    @cached_property
    def _tokens(self) -> list[str]:
        return list(self._vocabulary)

    @cached_property
    def _bpe(self) -> models.BPE:
        return models.BPE(self._vocabulary, list(self.merges), end_of_word_suffix=END_OF_WORD)

    @cached_property
    def _memo(self) -> dict[str, tuple[int, ...]]:
        return {}

    @property
    def vocab_size(self) -> int:
        """The number of tokens, start and end included."""
        return len(self._vocabulary)

    @property
    def sot(self) -> int:
        """The id that starts every text: the last but one."""
        return self.vocab_size - 2

    @property
    def eot(self) -> int:
        """The id that ends every text: the largest of all."""
        return self.vocab_size - 1

    def __call__(
        self, texts: str | Sequence[str], context_length: int = 77, truncate: bool = False
    ) -> np.ndarray:
        """Token ids of texts, ready for a text tower.

        Args:
            texts: one text or several.
            context_length: the length of every row, start and end included.
            truncate: cut texts that are too long (the end token stays) instead of raising.

        Returns:
            (N, context_length) int32: start, the text's tokens, end, then zeros.

        Raises:
            DataError: no texts, or something that is not a text.
            TextTooLongError: a text that is too long.
            ConfigError: `context_length` leaves no room for start and end.
        """
        texts = checked_texts(texts)
        if context_length < 2:
            raise ConfigError(f"context_length is {context_length}, expected 2 or more")
        ids_NL = np.zeros((len(texts), context_length), np.int32)
        sot, eot = self.sot, self.eot
        for row, text in enumerate(texts):
            ids = [sot, *self.encode(text), eot]
            if len(ids) > context_length:
                if not truncate:
                    raise TextTooLongError(
                        f"text {row} makes {len(ids)} tokens with its start and end, expected at "
                        f"most {context_length}: {shown(text)}; shorten it or set truncate=True",
                        len(ids),
                        context_length,
                    )
                ids[context_length - 1 :] = [eot]
            ids_NL[row, : len(ids)] = ids
        return ids_NL

    def encode(self, text: str) -> list[int]:
        """The token ids of one text, without start and end.

        The text of a special token (`<|endoftext|>`) gives that token, as OpenAI's does.
        """
        text = clean(text)
        if self.lowercase:
            text = text.lower()
        ids: list[int] = []
        memo = self._memo
        for piece in text.split():  # no word reaches across white space
            ids += memo.get(piece) or self._encode_piece(piece)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids, or of one row of `__call__`: start, end and padding are left out.

        Each word is followed by one blank, save the last; bytes that are no UTF-8 become U+FFFD.

        Raises:
            DataError: an id is outside the vocabulary.
        """
        written = []
        for index in map(int, ids):
            if index == self.eot:
                break
            if not 0 <= index < self.vocab_size:
                raise DataError(f"token id {index}, expected 0 to {self.vocab_size - 1}")
            if index != self.sot:
                written.append(self._tokens[index])
        words = "".join(written).split(END_OF_WORD)
        return b" ".join(map(read_bytes, words)).decode("utf-8", errors="replace").rstrip(" ")

    def to_json(self) -> str:
        """This tokenizer in the JSON of Hugging Face's `tokenizers`, which can load and run it."""
        whole = tokenizers.Tokenizer(self._bpe)
        lower = [normalizers.Lowercase()] if self.lowercase else []
        whole.normalizer = normalizers.Sequence([normalizers.NFC(), *lower])
        whole.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(
                    tokenizers.Regex(f"(?i:{WORD_PATTERN})"), "removed", invert=True
                ),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        whole.add_special_tokens([START_OF_TEXT, END_OF_TEXT])
        whole.post_processor = processors.TemplateProcessing(
            single=f"{START_OF_TEXT} $A {END_OF_TEXT}",
            special_tokens=[(START_OF_TEXT, self.sot), (END_OF_TEXT, self.eot)],
        )
        return str(whole.to_str(pretty=False))

    def save(self, path: str | Path) -> None:
        """Write `to_json` to a file."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    def _encode_piece(self, piece: str) -> tuple[int, ...]:
        """The ids of a cleaned text without white space, remembered for the next time."""
        ids: list[int] = []
        for word in WORDS.findall(piece):
            if word in (START_OF_TEXT, END_OF_TEXT):
                ids.append(self._vocabulary[word])
            else:
                ids += [token.id for token in self._bpe.tokenize(write_bytes(word))]
        found = tuple(ids)
        if len(piece) <= _MEMO_PIECE:
            if len(self._memo) >= _MEMO_SIZE:
                self._memo.clear()
            self._memo[piece] = found
        return found


@cache
def openai_tokenizer() -> Tokenizer:
    """The tokenizer of every CLIP that OpenAI, LAION and Sony published; made once per process."""
    return Tokenizer(openai_merges())


def load_tokenizer(path: str | Path) -> Tokenizer:
    """A tokenizer from a file that `Tokenizer.save` wrote, or Hugging Face's CLIP tokenizer.json.

    Raises:
        DataError: the file is missing or is no such tokenizer.
    """
    try:
        text = read_regular(path, TOKENIZER_BYTES)[0].decode("utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the vocabulary {path}: {error}") from error
    return tokenizer_from_json(text, str(path))


def tokenizer_from_json(text: str, name: str = "the vocabulary") -> Tokenizer:
    """A tokenizer from what `Tokenizer.to_json` gave; `name` is used in errors.

    Raises:
        DataError: the JSON is no byte-level BPE whose ids are laid out as in `nnclip.text.bpe`.
    """
    try:
        content = parse_json(text, TOKENIZER_BYTES)
        model = content["model"]
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        merges = tuple((str(first), str(second)) for first, second in pairs)
        stored = {
            **model["vocab"],
            **{one["content"]: one["id"] for one in content["added_tokens"]},
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{name} is not a BPE vocabulary in the JSON of `tokenizers` ({error!r}): "
            "make one with `nnclip train-tokenizer`"
        ) from error
    tokenizer = Tokenizer(merges, lowercase='"Lowercase"' in json.dumps(content.get("normalizer")))
    if stored != tokenizer._vocabulary:
        raise DataError(
            f"{name} holds {len(stored)} tokens in another order than CLIP's: expected the bytes, "
            f"the bytes that end a word, the merges, {START_OF_TEXT} and {END_OF_TEXT}"
        )
    return tokenizer


def end_of_text_positions(ids_NL: np.ndarray) -> np.ndarray:
    """Where each text ends: the position of the largest id, found in integers.

    Half precision cannot tell the start from the end (49406 and 49407 both round to 49408), so
    this is computed outside the graph.

    Args:
        ids_NL: (N, L) integers, as `Tokenizer.__call__` gives them.

    Returns:
        (N,) int64, each 0..L-1.

    Raises:
        DataError: not an array of integers with two axes.
    """
    ids_NL = np.asarray(ids_NL)
    if ids_NL.ndim != 2 or ids_NL.shape[1] == 0 or not np.issubdtype(ids_NL.dtype, np.integer):
        raise DataError(
            f"token ids are {ids_NL.dtype} of shape {ids_NL.shape}, expected integers (N, L)"
        )
    return ids_NL.argmax(axis=1).astype(np.int64)


def checked_texts(texts: str | Sequence[str]) -> list[str]:
    """The texts as a list of `str`; DataError if that is not what they are."""
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise DataError(f"texts are {type(texts).__name__}, expected a str or a list of str")
    texts = list(texts)
    if not texts:
        raise DataError("the list of texts is empty, expected one text or more")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"text {row} is {type(text).__name__} ({text!r:.80}), expected str")
    return texts


def shown(text: str, limit: int = 80) -> str:
    """A text as an error quotes it."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
