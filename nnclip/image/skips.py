"""Which files and folders a listing leaves out: patterns, and an ignore file in any folder.

A pattern is one of .gitignore's:

| | leaves out |
|---|---|
| `*.tmp` | any file or folder of such a name |
| `cache/` | any folder of that name |
| `/raw`, `2019/raw` | the one at that place, seen from the folder that is listed |
| `2019/**/raw` | `raw` at any depth in `2019` |
| `!keep.tmp` | nothing: what an earlier pattern leaves out comes back |

The last pattern that fits decides. What lies in a folder that is left out is not looked at.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nnclip.errors import ConfigError, DataError
from nnclip.files import read_regular, shown

IGNORE_FILE = ".nnclipignore"
LONGEST = 1 << 20  # bytes of it
# dot files (.trash, .thumbnails, ._*), what NAS systems and Windows keep, previews of Lightroom
USUAL = (
    ".*",
    "#recycle",
    "#snapshot",
    "@eaDir",
    "$RECYCLE.BIN",
    "System Volume Information",
    "*.lrdata",
)


@dataclass(frozen=True)
class Rule:
    """A pattern that was read.

    Attributes:
        pattern: as it was written.
        fits: what the path from the listed folder must be; without a slash, what its last part is.
        anywhere: whether only the last part counts.
        folders: whether it is about folders alone.
        back: whether it brings back.
    """

    pattern: str
    fits: re.Pattern[str]
    anywhere: bool
    folders: bool
    back: bool


@dataclass(frozen=True)
class Skips:
    """Patterns in their order, as they hold in a folder."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def of(cls, patterns: Iterable[str]) -> "Skips":
        """Read patterns; ConfigError for one that cannot be read."""
        return cls(tuple(rule for it in patterns if (rule := rule_of(it, "")) is not None))

    def within(self, folder: str, inside: str) -> "Skips":
        """As they hold in a folder that may have an ignore file of its own.

        Args:
            folder: its path.
            inside: its path from the listed folder; "" for that one.

        Raises:
            DataError: the ignore file cannot be read.
        """
        path = Path(folder, IGNORE_FILE)
        try:
            text = read_regular(path, LONGEST)[0].decode("utf-8-sig", "replace")
        except FileNotFoundError:
            return self
        except OSError as error:
            raise DataError(f"{shown(path)}: cannot be read ({error.strerror or error})") from error
        lines = [line.rstrip() for line in text.splitlines()]
        found = [rule_of(it, inside) for it in lines if it and not it.startswith("#")]
        return Skips((*self.rules, *(rule for rule in found if rule is not None)))

    def pattern(self, inside: str, folder: bool) -> str:
        """The pattern that leaves out what lies at a path from the listed folder; "" if none."""
        name, found = inside.rpartition("/")[2], ""
        for rule in self.rules:
            if rule.folders and not folder:
                continue
            if rule.fits.fullmatch(name if rule.anywhere else inside):
                found = "" if rule.back else rule.pattern
        return found


@lru_cache(maxsize=4096)
def rule_of(pattern: str, inside: str) -> Rule | None:
    """A rule that was written in a folder, whose path from the listed one is `inside`.

    Returns: None for an empty pattern.

    Raises:
        ConfigError: it cannot be read.
    """
    back, text = pattern.startswith("!"), pattern.removeprefix("!").removeprefix("\\")
    folders, text = text.endswith("/"), text.rstrip("/")
    anywhere = "/" not in text
    text = text.lstrip("/")
    if not text:
        return None
    above = "" if anywhere or not inside else re.escape(inside + "/")
    try:
        return Rule(pattern, re.compile(above + _regex(text), re.DOTALL), anywhere, folders, back)
    except re.error as error:
        raise ConfigError(f"pattern {pattern!r:.80}: cannot be read ({error})") from error


_PARTS = re.compile(r"\*\*/|/\*\*$|\*\*|\*|\?|\[!?\]?[^\]/]*\]|.", re.DOTALL)
_MEANS = {"**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _regex(glob: str) -> str:
    """The regular expression of a glob."""

    def part(found: str) -> str:
        if found.startswith("[") and len(found) > 2:
            inner = found[1:-1].replace("\\", "\\\\").replace("[", "\\[")
            return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
        return _MEANS.get(found) or re.escape(found)

    return "".join(map(part, _PARTS.findall(glob)))


def checked_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """Patterns that can all be read; ConfigError for one that cannot."""
    Skips.of(patterns)
    return tuple(patterns)
