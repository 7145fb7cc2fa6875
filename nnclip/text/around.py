"""What is done to texts around a tokenizer.json, by the code that trained the model.

Source: open_clip, `tokenizer.py`, HFTokenizer; "words" is of transformers' SiglipTokenizer.
"""

import re
import string
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nnclip.text.clean import clean

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SPACES = re.compile(r"\s+")

# name -> what it does, in words, for who feeds an exported file
CLEANINGS = {
    "lower": "ftfy, HTML entities read twice, runs of white space made one blank, lower case",
    "whitespace": "ftfy, HTML entities read twice, runs of white space made one blank",
    "canonicalize": "ftfy, HTML entities read twice, underscores made blanks, ASCII punctuation "
    "removed, lower case, runs of white space made one blank",
    "words": "lower case, ASCII punctuation removed, runs of white space made one blank",
    "none": "none",
}


def _whitespace(text: str) -> str:
    return _SPACES.sub(" ", clean(text).strip()).strip()


def _canonicalize(text: str) -> str:
    plain = clean(text).strip().replace("_", " ").translate(_PUNCTUATION)
    return _SPACES.sub(" ", plain.lower()).strip()


def _words(text: str) -> str:
    return _SPACES.sub(" ", text.lower().translate(_PUNCTUATION)).strip()


_CLEAN: dict[str, Callable[[str], str]] = {
    "lower": lambda text: _whitespace(text).lower(),
    "whitespace": _whitespace,
    "canonicalize": _canonicalize,
    "words": _words,
    "none": lambda text: text,
}


@dataclass(frozen=True)
class Around:
    """Cleaning before a tokenizer, and an id that is replaced after it.

    Attributes:
        clean: a key of CLEANINGS.
        zeroed: the id that 0 replaces; 0 for none.
        left: whether short texts are filled up before their first token.
    """

    clean: str = "none"
    zeroed: int = 0
    left: bool = False

    def before(self, text: str) -> str:
        """The text that the tokenizer gets."""
        return _CLEAN[self.clean](text)

    def after(self, ids_NL: np.ndarray) -> np.ndarray:
        """The ids that the text tower gets."""
        return np.where(ids_NL == self.zeroed, 0, ids_NL) if self.zeroed else ids_NL
