"""The licence and the languages that a model's page on the Hugging Face hub tells."""

from pathlib import Path
from typing import Any

from nnclip.errors import DataError
from nnclip.files import read_regular
from nnclip.weights.hub import README

MOST = 1 << 20  # bytes
LONGEST = 200  # letters of a licence's name, or of a language's


def told_by_readme(folder: Path) -> dict[str, str]:
    """What the head of README.md says: `licence`, and `languages` with spaces between them.

    A page without a head says nothing, and so does one that cannot be read: weights are converted
    without it, too.
    """
    try:
        text = read_regular(folder / README, MOST)[0].decode("utf-8-sig")
    except (OSError, ValueError, DataError):
        return {}
    start, head, end = ([*text.split("---", 2), "", ""])[:3]
    if start.strip() or not end:
        return {}
    return _told(head)


def _told(head: str) -> dict[str, str]:
    import yaml  # huggingface_hub needs it, too

    try:
        tree = yaml.safe_load(head)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    if not isinstance(tree, dict):
        return {}
    licence = tree.get("license")
    if licence == "other":
        licence = tree.get("license_name", licence)
    languages = tree.get("language")
    listed = languages if isinstance(languages, list) else [languages]
    found = {"licence": _word(licence), "languages": " ".join(filter(None, map(_word, listed)))}
    return {key: value for key, value in found.items() if value}


def _word(value: Any) -> str:
    """YAML reads Norwegian as False."""
    if value is False:
        return "no"
    return value if isinstance(value, str) and len(value) <= LONGEST else ""
