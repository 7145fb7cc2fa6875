"""Cleaning a text before it is split into words, as OpenAI's CLIP does it."""

import html
import re
import unicodedata

import ftfy
from ftfy.badness import is_bad
from ftfy.chardata import CONTROL_CHARS, LIGATURES, WIDTH_MAP

# Everything that a step of ftfy replaces character by character, or that starts what it replaces:
# entities, terminal escapes (control characters), C1 controls, curly quotes, line breaks other than
# "\n", surrogates, and its three tables.
_TOUCHED = re.compile(
    "[&\r\x80-\x9f\u02bc\u2018-\u201f\u2028\u2029\ud800-\udfff"
    + re.escape("".join(map(chr, [*CONTROL_CHARS, *LIGATURES, *WIDTH_MAP])))
    + "]"
)
_FTFY_SEGMENT = 1_000_000  # characters; ftfy fixes longer lines in pieces of this length


def clean(text: str) -> str:
    """Repair broken Unicode (ftfy) and replace HTML entities, even those escaped twice.

    White space is left as it is: no token holds any, so it only ever separates.

    Source: OpenAI CLIP, `simple_tokenizer.basic_clean`.
    """
    if not _ftfy_leaves(text):
        text = ftfy.fix_text(text)
    return html.unescape(html.unescape(text))


def _ftfy_leaves(text: str) -> bool:
    """Whether `ftfy.fix_text(text)` certainly is `text`; ftfy takes 10 times as long to say so.

    Each step of ftfy 6 does nothing for such a text: the steps on single characters find none of
    theirs; the repair of encodings stops at once for ASCII or where `is_bad` finds no mojibake;
    normalisation keeps what is in form C. ftfy works line by line, so outside ASCII, where the
    neighbours of a character count, only a single line that it takes whole is judged here.
    """
    if _TOUCHED.search(text):
        return False
    if text.isascii():
        return True
    return (
        "\n" not in text
        and len(text) <= _FTFY_SEGMENT
        and not is_bad(text)
        and unicodedata.is_normalized("NFC", text)
    )
