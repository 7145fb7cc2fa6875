"""Cleaning a text before it is split into words, as OpenAI's CLIP does it."""

import html
import re
import unicodedata

import ftfy
from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad
from ftfy.chardata import CONTROL_CHARS, HTML_ENTITY_RE, LIGATURES, WIDTH_MAP
from ftfy.fixes import uncurl_quotes

# What ftfy replaces character by character, curly quotes aside: C1 controls, line breaks, halves of
# surrogate pairs, and its three tables (terminal escapes start with one of the control characters).
_REPLACED = re.compile(
    "[\r\x80-\x9f\u2028\u2029\ud800-\udfff"
    + re.escape("".join(map(chr, [*CONTROL_CHARS, *LIGATURES, *WIDTH_MAP])))
    + "]"
)
_FTFY_SEGMENT = 1_000_000  # characters; ftfy fixes longer lines in pieces of this length


def _mojibake_signs() -> re.Pattern[str]:
    """Finds something in every text that `is_bad` calls mojibake, and in few others.

    Each alternative of ftfy's expression holds a character that needs no neighbour, or one of
    its marks beside another mark, a Greek or a Cyrillic letter. (Ђ is such a letter, but counts as
    a mark: it makes a sign with plain letters.)
    """
    letters = MOJIBAKE_CATEGORIES["upper_common"] + MOJIBAKE_CATEGORIES["lower_common"]
    marks = "\xa0Ђ" + "".join(
        characters
        for category, characters in MOJIBAKE_CATEGORIES.items()
        if category not in ("upper_common", "lower_common")
    )
    alone = MOJIBAKE_CATEGORIES["c1"] + "ÃÂŒœ"
    return re.compile(
        f"[{marks}{letters}](?:(?<=[{alone}])|(?<=[{marks}])[{marks}{letters}]|[{marks}])"
    )


_MOJIBAKE_SIGNS = _mojibake_signs()


def clean(text: str) -> str:
    """Repair broken Unicode (ftfy) and replace HTML entities, even those escaped twice.

    White space is left as it is: no token holds any, so it only ever separates.

    Source: OpenAI CLIP, `simple_tokenizer.basic_clean`.
    """
    return html.unescape(html.unescape(_fix(text)))


def _fix(text: str) -> str:
    """`ftfy.fix_text(text)`, which alone would take most of the time of tokenizing.

    ftfy repeats its steps until they change nothing. Where `_only_quotes` holds, all of them do
    nothing but two, quotes and normalisation; this repeats those, and leaves every other text, from
    its beginning, to ftfy.
    """
    fixed, last = text, None
    while fixed != last:
        if not _only_quotes(fixed):
            return ftfy.fix_text(text)
        fixed, last = unicodedata.normalize("NFC", uncurl_quotes(fixed)), fixed
    return fixed


def _only_quotes(text: str) -> bool:
    """Whether ftfy would do no more to this text than straighten its quotes and compose letters.

    ftfy works line by line and looks at the neighbours of characters outside ASCII, so such a text
    is only judged if it is a single line that ftfy takes whole.
    """
    if _REPLACED.search(text) or ("&" in text and HTML_ENTITY_RE.search(text)):
        return False
    if text.isascii():
        return True
    if "\n" in text or len(text) > _FTFY_SEGMENT:
        return False
    return not (_MOJIBAKE_SIGNS.search(text) and is_bad(text))
