"""Byte-level byte-pair encoding: how bytes are written, words are split and tokens are numbered.

A vocabulary is its list of merges and nothing else. Token ids follow from it: the 256 bytes, the
256 bytes that end a word, one token per merge, and last the start and the end of a text. The end
therefore has the largest id, and its position in a row of ids is the argmax.

Source: OpenAI CLIP, `simple_tokenizer`; after GPT-2's byte-level encoding.
"""

import gzip
import zlib

import regex

from nnclip.assets import asset
from nnclip.errors import DataError

Merges = tuple[tuple[str, str], ...]

END_OF_WORD = "</w>"
START_OF_TEXT, END_OF_TEXT = "<|startoftext|>", "<|endoftext|>"

# Words: the two special tokens, English contractions, runs of letters, single digits, runs of
# anything else but white space. The `regex` module decides what a letter is, as it does for OpenAI:
# the expressions of `tokenizers` know an older Unicode, without 17,144 of today's letters.
WORD_PATTERN = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
WORDS = regex.compile(WORD_PATTERN, regex.IGNORECASE)

_OPENAI_FILE = "bpe_simple_vocab_16e6.txt.gz"
_OPENAI_MERGES = 49408 - 2 * 256 - 2  # the file holds more than the model was trained with


def _byte_characters() -> list[str]:
    """The character that stands for each byte 0..255: itself if visible, else one from 256 up."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    unseen = iter(range(0x100, 0x200))
    return [chr(byte if byte in visible else next(unseen)) for byte in range(256)]


_BYTE_CHARACTERS = _byte_characters()
_WRITE_BYTES = dict(enumerate(_BYTE_CHARACTERS))
_READ_BYTES = {ord(character): byte for byte, character in enumerate(_BYTE_CHARACTERS)}


def write_bytes(word: str) -> str:
    """The UTF-8 bytes of a word, one visible character each: the letters that merges join."""
    return word.encode("utf-8").decode("latin-1").translate(_WRITE_BYTES)


def read_bytes(written: str) -> bytes:
    """The inverse of `write_bytes`, as bytes: a token may hold a part of a character."""
    return bytes(_READ_BYTES[ord(character)] for character in written)


def base_tokens() -> list[str]:
    """The first 512 tokens: each byte within a word, then each at its end; visible ones first."""
    within = sorted(_BYTE_CHARACTERS, key=lambda character: (ord(character) >= 256, ord(character)))
    return within + [character + END_OF_WORD for character in within]


def vocabulary_of(merges: Merges) -> dict[str, int]:
    """Token -> id for a list of merges.

    Raises:
        DataError: a merge joins tokens that do not exist yet, or makes one a second time.
    """
    vocabulary = {token: index for index, token in enumerate(base_tokens())}
    for first, second in merges:
        if first not in vocabulary or second not in vocabulary or first + second in vocabulary:
            raise DataError(
                f"vocabulary: merge {len(vocabulary) - 512} joins {first!r} and {second!r}, "
                "expected two tokens made before it, and a new one made of them"
            )
        vocabulary[first + second] = len(vocabulary)
    for special in (START_OF_TEXT, END_OF_TEXT):
        vocabulary[special] = len(vocabulary)
    return vocabulary


def openai_merges() -> Merges:
    """The 48,894 merges of OpenAI's CLIP, from the bundled file.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = asset(_OPENAI_FILE)
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged ({error}): restore it from the repository") from error
    pairs = [tuple(line.split()) for line in lines[1 : 1 + _OPENAI_MERGES]]
    merges = tuple((pair[0], pair[1]) for pair in pairs if len(pair) == 2)
    if len(merges) != _OPENAI_MERGES:
        raise DataError(
            f"{path} holds {len(merges)} merges, expected {_OPENAI_MERGES}: "
            "restore it from the repository"
        )
    return merges
