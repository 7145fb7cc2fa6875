"""How one language says what is in a drawn picture: words, places and sentence patterns.

A new language is one entry of `nnclip.drawing.languages` with a code of the `emoji` package.
Patterns take nominative noun phrases only, so that names need no declension.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from nnclip.drawing.catalogue import COLOURS, SHAPES

SCENES = ("beach", "meadow", "snow", "night", "underwater", "desert", "forest", "city", "sunset",
          "clouds", "table", "bricks")  # fmt: skip
PATTERNS = ("stripes", "dots", "checks")
BACKGROUNDS = (*COLOURS, *PATTERNS, *SCENES)
GENDERS = "mfng"


@dataclass(frozen=True)
class Language:
    """One language's words.

    Args:
        code: as in `emoji.LANGUAGES`.
        colours: the eleven COLOURS, separated by `; `. Forms of one colour by `/`: masculine,
            feminine, neuter, and the one that agrees with the word for background; a missing
            form is the one before it.
        shapes: the eleven SHAPES, each after its gender: `m:círculo; f:estrella`; then the word
            for any shape.
        coloured: how colour and shape join: `{shape} {colour}`.
        ground: `on a ... background`, with `{colour}` (its fourth form).
        places: PATTERNS and SCENES as adverbials, separated by `; `.
        alone: sentence patterns that name `{x}`.
        placed: sentence patterns that name `{x}` and where it is, `{place}`.
        together: patterns of two things `{a}` and `{b}` wherever they are.
        beside: the pattern of `{a}` on the left and `{b}` on the right.
        stacked: the pattern of `{a}` above and `{b}` below.
        noun: what makes the `emoji` package's name a noun phrase (articles, capitals).
        fixes: (regular expression, replacement) applied to finished sentences.
    """

    code: str
    colours: str
    shapes: str
    coloured: str
    ground: str
    places: str
    alone: tuple[str, ...]
    placed: tuple[str, ...]
    together: tuple[str, ...]
    beside: str
    stacked: str
    noun: Callable[[str], str] = str
    fixes: tuple[tuple[str, str], ...] = ()

    @cached_property
    def _colours(self) -> dict[str, list[str]]:
        words = dict(zip(COLOURS, self.colours.split("; "), strict=True))
        forms = {}
        for colour, word in words.items():
            given = word.split("/")
            forms[colour] = given + given[-1:] * (len(GENDERS) - len(given))
        return forms

    @cached_property
    def _shapes(self) -> dict[str, str]:
        return dict(zip((*SHAPES, ""), self.shapes.split("; "), strict=True))

    @cached_property
    def _places(self) -> dict[str, str]:
        return dict(zip((*PATTERNS, *SCENES), self.places.split("; "), strict=True))

    def shape(self, colour: str, shape: str) -> str:
        """The noun phrase of a coloured shape, in agreement: "estrella roja"; of any for ""."""
        gender, _, word = self._shapes[shape].partition(":")
        adjective = self._colours[colour][GENDERS.index(gender)]
        return self.noun(self.coloured.format(colour=adjective, shape=word))

    def form(self, shape: str) -> str:
        """The noun phrase of a shape whatever its colour: "estrella"."""
        return self.noun(self._shapes[shape].partition(":")[2])

    def place(self, background: str) -> str:
        """Where something is, for one of BACKGROUNDS: "on a red background", "on the beach"."""
        if background in self._colours:
            return self.ground.format(colour=self._colours[background][GENDERS.index("g")])
        return self._places[background]

    def fix(self, sentence: str) -> str:
        """The sentence after this language's `fixes`."""
        for pattern, replacement in self.fixes:
            sentence = re.sub(pattern, replacement, sentence)
        return sentence
