"""nnclip's ids beside OpenAI's and open_clip's own code."""

import random
import unicodedata

import numpy as np
import pytest

from tests.lazy import lazy

open_clip = lazy("open_clip")

pytestmark = pytest.mark.torch

BLOCKS = (
    *((0, 0x80), (0x80, 0x250), (0x250, 0x530), (0x530, 0x700), (0x900, 0xE80), (0x1000, 0x1100)),
    *((0x1E00, 0x2070), (0x2070, 0x2C00), (0x3000, 0x3100), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3)),
    *(
        (0xD800, 0xE000),
        (0xE000, 0xFB50),
        (0xFE00, 0x10000),
        (0x10000, 0x20000),
        (0x1F300, 0x1FB00),
    ),
    *((0x300, 0x370), (0xE0000, 0xE01F0), (0, 0x110000)),
)
PIECES = (
    *("'s", "'S", "'ſ", "'re", "'LL", "'d", "&amp;amp;", "&lt;", "&#x1c;", "&#133", "&EACUTE;"),
    *(
        "<|startoftext|>",
        "<|ENDOFTEXT|>",
        "<|ſtartoftext|>",
        "â€™",
        "Ã©",
        "Â ",
        "“a”",
        "\r\n",
        "\x1f",
    ),
    *(
        "\x1b[31m",
        "\u3000",
        "\u200d",
        "👩‍👩‍👧",
        "🇫🇷",
        "İ",
        "ΟΔΟΣ",
        "ẞ",
        "ﬅ",
        "\u212a",
        "</w>",
        "½",
        "٣",
    ),
)


def _fuzz(rng: random.Random) -> str:
    """One to ten pieces of any Unicode, some of it decomposed or misread, unassigned or broken."""
    pieces = []
    for _ in range(rng.randint(1, 10)):
        low, high = rng.choice(BLOCKS)
        piece = "".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 8)))
        misread = piece.encode("utf-8", "replace").decode("cp1252", "ignore")
        decomposed = unicodedata.normalize("NFD", piece)
        pieces.append(rng.choice((piece, piece, rng.choice(PIECES), misread, decomposed)))
    return rng.choice(("", " ", "\n")).join(pieces)


@pytest.mark.parametrize("seed", range(4))
def test_fuzzed_unicode_equals_openai(tokenizer, openai_reference, seed):
    rng = random.Random(seed)
    for _ in range(2500):
        text = _fuzz(rng)
        assert tokenizer.encode(text) == openai_reference.encode(text), ascii(text)


def test_characters_of_all_planes_equal_openai(tokenizer, openai_reference):
    for code in range(0, 0x110000, 29):
        text = f"a{chr(code)}1"
        assert tokenizer.encode(text) == openai_reference.encode(text), hex(code)


@pytest.mark.parametrize("corpus", ["english", "languages", "messy"])
def test_captions_equal_open_clip(tokenizer, texts, corpus):
    batch = getattr(texts, corpus)(3000, seed=1)
    theirs = open_clip.get_tokenizer("ViT-B-32")(batch).numpy()
    assert np.array_equal(tokenizer(batch, truncate=True), theirs)
