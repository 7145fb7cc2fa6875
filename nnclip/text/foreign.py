"""Texts to token ids by the tokenizer of another encoder: BERT's WordPiece, XLM-R's Unigram, ...

Hugging Face's `tokenizers` keeps everything about one (cleaning, splitting, the vocabulary, the
start and the end) in a file named tokenizer.json, which this reads and runs as it is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import tokenizers

from nnclip.errors import ConfigError, DataError, TextTooLongError
from nnclip.text.around import Around
from nnclip.text.tokenizer import checked_texts, shown
from nnclip.text.tokenizer_json import guarded, make_tokenizer


@dataclass(frozen=True)
class ForeignTokenizer:
    """A tokenizer of somebody else; immutable, and safe to use from several threads.

    Attributes:
        json: the content of its tokenizer.json.
        pad: the id that fills up short texts.
        name: what errors call it.
        around: what is done to texts before, and to ids after.
    """

    json: str = field(repr=False)
    pad: int
    name: str = "tokenizer.json"
    around: Around = field(default_factory=Around)

    def __post_init__(self) -> None:
        if not 0 <= self.pad < self.vocab_size:  # a damaged file fails here, not at the first text
            raise DataError(
                f"{self.name}: found {self.vocab_size} tokens, expected one numbered {self.pad}, "
                "the padding"
            )

    @cached_property
    def _made(self) -> tuple[tokenizers.Tokenizer, int]:
        return make_tokenizer(self.json, self.name)

    @property
    def _tokenizer(self) -> tokenizers.Tokenizer:
        return self._made[0]

    @property
    def vocab_size(self) -> int:
        """The rows that a table needs for all ids, special ones included: the highest and one."""
        return self._made[1]

    def __call__(
        self, texts: str | Sequence[str], context_length: int = 128, truncate: bool = False
    ) -> np.ndarray:
        """Token ids of texts, ready for a text tower.

        Args:
            texts: one text or several.
            context_length: the length of every row, start and end included.
            truncate: cut texts that are too long (start and end stay) instead of raising.

        Returns:
            (N, context_length) int32, short texts filled up with `pad`, behind or before them.

        Raises:
            DataError: no texts, or something that is not a text.
            TextTooLongError: a text that is too long.
            ConfigError: `context_length` leaves no room for a token between start and end.
        """
        texts = checked_texts(texts)
        room = context_length - self._tokenizer.num_special_tokens_to_add(False)
        if room < 1:
            raise ConfigError(
                f"context_length is {context_length}, expected {context_length - room + 1} or more"
            )
        ids_NL = np.full((len(texts), context_length), self.pad, np.int32)
        for row, (text, encoding) in enumerate(zip(texts, self._encoded(texts), strict=True)):
            if len(encoding) > room:
                if not truncate:
                    tokens = len(encoding) + context_length - room
                    raise TextTooLongError(
                        f"text {row} makes {tokens} tokens with its start and end, expected at "
                        f"most {context_length}: {shown(text)}; shorten it or set truncate=True",
                        tokens,
                        context_length,
                    )
                encoding.truncate(room)
            ids = self._tokenizer.post_process(encoding).ids
            begin = context_length - len(ids) if self.around.left else 0
            ids_NL[row, begin : begin + len(ids)] = ids
        return self.around.after(ids_NL)

    def _encoded(self, texts: list[str]) -> list[tokenizers.Encoding]:
        """Without start and end. A lone surrogate is no character: it becomes U+FFFD."""
        clean = [
            self.around.before(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
            for text in texts
        ]
        tokenizer = self._tokenizer
        if len(clean) == 1:  # starts no threads
            return [
                guarded(self.name, lambda: tokenizer.encode(clean[0], add_special_tokens=False))
            ]
        return list(
            guarded(self.name, lambda: tokenizer.encode_batch(clean, add_special_tokens=False))
        )

    def encode(self, text: str) -> list[int]:
        """The token ids of one text, without start and end."""
        return list(self._encoded([text])[0].ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids, or of one row of `__call__`: special tokens are left out.

        Raises:
            DataError: an id is outside the vocabulary.
        """
        numbers = [int(index) for index in ids]
        if numbers and not 0 <= min(numbers) <= max(numbers) < self.vocab_size:
            raise DataError(
                f"token ids {min(numbers)} to {max(numbers)}, expected 0 to {self.vocab_size - 1}"
            )
        tokenizer = self._tokenizer
        return guarded(self.name, lambda: str(tokenizer.decode(numbers, skip_special_tokens=True)))

    def to_json(self) -> str:
        """The content of its tokenizer.json."""
        return self.json
