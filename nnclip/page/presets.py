"""What can be picked instead of typed: lists of categories, templates, and images.

The lists that suit the bundled images are made by scripts/write_words.py, in every language that
a bundled model may know.
"""

import csv
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nnclip.assets import assets_dir
from nnclip.service.images import ImageFile
from nnclip.text.prompts import PRESETS as PEOPLE

ENGLISH = "en"
FRONT = 12  # examples that the first tab offers
TEMPLATES = ("{}", "a picture of {}", "a drawing of {}", "a photo of a {}", "a photo of a {}.")
IDEAS = ""  # the list in words.json that is offered for searching


@dataclass(frozen=True)
class Example:
    """A bundled image and what it shows."""

    path: Path
    caption: str

    @property
    def name(self) -> str:
        """What a link calls it."""
        return self.path.stem

    @property
    def image(self) -> ImageFile:
        """What can be asked about; DataError if it is gone."""
        return ImageFile.find(self.path)


def examples() -> list[Example]:
    """The bundled images, or none where the assets folder lacks them."""
    table = assets_dir() / "examples" / "pairs.csv"
    if not table.is_file():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return [Example(table.parent / row["filepath"], row["title"]) for row in rows]


def presets(language: str = ENGLISH) -> dict[str, list[str]]:
    """Names of lists -> their categories; the first suits the bundled images.

    Args:
        language: a code. Lists that are not written in it are in English; hair colours and
            expressions are, and suit photographs.
    """
    words = _words()
    drawn = words.get(language) or words.get(ENGLISH, {})
    found = {name: texts for name, texts in drawn.items() if name != IDEAS}
    return found | {name: list(texts) for name, texts in PEOPLE.items()}


def ideas(languages: tuple[str, ...]) -> list[str]:
    """What may be searched for: several things in one language, or one in each of several."""
    words = _words()
    known = [words[code][IDEAS] for code in languages if code in words]
    if len(known) > 1:
        return [texts[index % len(texts)] for index, texts in enumerate(known)]
    return (known or [words.get(ENGLISH, {}).get(IDEAS, [])])[0]


@cache
def _words() -> dict[str, dict[str, list[str]]]:
    """Language -> name of a list -> texts; nothing where the assets folder lacks them."""
    path = assets_dir() / "examples" / "words.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}
