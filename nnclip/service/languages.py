"""Which languages a model was taught, and what their speakers call them."""

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = {
    "ar": "العربية", "de": "Deutsch", "en": "English", "es": "español", "fa": "فارسی",
    "fr": "français", "id": "Bahasa Indonesia", "it": "italiano", "ja": "日本語", "ko": "한국어",
    "pt": "português", "ru": "русский", "tr": "Türkçe", "zh": "中文",
}  # fmt: skip
ENGLISH_NAMES = {
    "ar": "Arabic", "de": "German", "en": "English", "es": "Spanish", "fa": "Persian",
    "fr": "French", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "pt": "Portuguese", "ru": "Russian", "tr": "Turkish", "zh": "Chinese",
}  # fmt: skip


def languages_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The codes that a model's file names under "languages"; none where it says nothing.

    >>> languages_of({"languages": "en, de"})
    ('en', 'de')
    """
    told = metadata.get("languages", "")
    codes = told.replace(",", " ").split() if isinstance(told, str) else map(str, told)
    return tuple(dict.fromkeys(codes))


def choices(codes: Sequence[str]) -> list[tuple[str, str]]:
    """What a drop-down shows, and what it stands for."""
    return [(NAMES.get(code, code), code) for code in codes]
