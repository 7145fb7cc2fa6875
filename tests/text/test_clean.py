import random

import ftfy
import pytest
from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad

from nnclip.text.clean import _MOJIBAKE_SIGNS, _fix, clean

SCRIPTS = (
    *((0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE00)),
    *((0x1E00, 0x2000), (0x2000, 0x2070), (0x2070, 0x2C00), (0x3000, 0x3100), (0x4E00, 0x9FFF)),
    *((0xAC00, 0xD7A3), (0xD800, 0xE000), (0xF900, 0xFFFF), (0x1F300, 0x1FB00), (0, 0x110000)),
)


def test_entities_are_replaced_twice_and_mojibake_repaired():
    assert clean("Tom &amp;amp; Lucy&#39;s cafÃ©") == "Tom & Lucy's café"


@pytest.mark.parametrize("seed", range(4))
def test_texts_kept_from_ftfy_are_those_it_leaves(seed, texts):
    rng = random.Random(seed)
    for text in texts.messy(500, seed):
        assert _fix(text) == ftfy.fix_text(text)
    for _ in range(3000):
        low, high = rng.choice(SCRIPTS)
        some = [chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 6))]
        text = "".join(rng.choices([*some, *" aZ&;<'’“\n\u212b\u212a\u037e\u0338"], k=8))
        assert _fix(text) == ftfy.fix_text(text), ascii(text)


def _mojibake_alphabet() -> list[str]:
    import re

    known = re.compile("[" + "".join(MOJIBAKE_CATEGORIES.values()) + "\xa0]")
    return [chr(code) for code in range(0x10000) if known.match(chr(code))]


def test_every_pair_that_ftfy_calls_mojibake_is_a_sign():
    alphabet = [*_mojibake_alphabet(), *"aZ .1"]
    pairs = [first + second for first in alphabet for second in alphabet]
    called = [pair for pair in pairs if is_bad(pair)]
    assert len(called) > 1000
    assert [pair for pair in called if not _MOJIBAKE_SIGNS.search(pair)] == []


def test_no_sign_means_no_mojibake_in_half_a_million_characters():
    """A walk over ftfy's own alphabet that avoids every sign: its expression must find nothing."""
    rng = random.Random(0)
    alphabet = _mojibake_alphabet() * 2 + list("aZz .,?!1") * 40
    walk = ["a"]
    while len(walk) < 500_000:
        character = rng.choice(alphabet)
        if not _MOJIBAKE_SIGNS.search(walk[-1] + character):
            walk.append(character)
    assert not is_bad("".join(walk))
