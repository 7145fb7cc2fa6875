"""What can be picked instead of typed: lists of categories, templates, and pictures."""

import csv
from dataclasses import dataclass
from pathlib import Path

from nnclip.assets import assets_dir
from nnclip.text.prompts import PRESETS as PEOPLE

FRONT = 12  # examples that the first tab offers
TEMPLATES = ("{}", "a picture of {}", "a drawing of {}", "a photo of a {}", "a photo of a {}.")
_PLACES = (
    "on the beach", "in a meadow", "in the snow", "under a starry sky", "under water",
    "in the desert", "in the forest", "in the city", "at sunset", "among clouds",
    "on a wooden table", "on a brick wall",
)  # fmt: skip
_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "grey")
_SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "ring", "crescent", "arrow")
_JOBS = ("astronaut", "cook", "scientist", "mechanic", "firefighter", "pilot", "judge", "singer")
_ANIMALS = (
    "a seal", "a horse", "a tiger", "a penguin", "a raccoon", "a crocodile", "a rooster",
    "a beetle", "a wolf", "a cat", "a dog", "an elephant",
)  # fmt: skip

DEFAULT = "Pictured here"
# name -> the categories, one per line; the first two suit photographs, the others drawings
PRESETS: dict[str, tuple[str, ...]] = {
    DEFAULT: (
        "a seal on the beach", "a man astronaut", "a racing car with a deer", "a blue star",
        "a soft ice cream", "a woman cook", "a penguin and a cheese wedge", "a white ring",
        "a flying saucer", "a woman scientist", "a tiger and a curling stone", "a crescent",
    ),
    "Animals": _ANIMALS,
    "Places": _PLACES,
    "Colours of a star": tuple(f"a {colour} star" for colour in _COLOURS),
    "Shapes in yellow": tuple(f"a yellow {shape}" for shape in _SHAPES),
    "People at work": tuple(f"a {sex} {job}" for job in _JOBS for sex in ("woman", "man")),
    **PEOPLE,
}  # fmt: skip


@dataclass(frozen=True)
class Example:
    """A bundled picture and what it shows."""

    path: Path
    caption: str

    @property
    def name(self) -> str:
        """What a link calls it."""
        return self.path.stem


def examples() -> list[Example]:
    """The bundled pictures, or none where the assets folder lacks them."""
    table = assets_dir() / "examples" / "pairs.csv"
    if not table.is_file():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return [Example(table.parent / row["filepath"], row["title"]) for row in rows]
