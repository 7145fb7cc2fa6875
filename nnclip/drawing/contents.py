"""What training pictures show: half stand for themselves, half in groups that are nearly alike.

A batch of pictures that differ in everything is told apart by colours and grounds alone: a model
trained on such batches knew the form of 28 % of the coloured shapes that it had seen, and of 72 %
of people at work whether they are men or women. In a group, all else stays the same: the ground,
the colour or the form, the profession or the skin tone. A group's pictures are written one after
the other, and `train.py --keep-together 8` brings them into one batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations
from math import inf
from random import Random

from nnclip.drawing.catalogue import Drawable, Shape, Worker, shapes, things, workers
from nnclip.drawing.language import BACKGROUNDS
from nnclip.drawing.splits import (
    is_held_out_pair,
    is_held_out_scene,
    is_held_out_shape,
    is_held_out_worker,
)
from nnclip.drawing.styles import TRAINED
from nnclip.errors import ConfigError

# Kinds of picture and their shares in training.
MIXTURE = {"scene": 42, "worker": 18, "pair": 16, "shape": 12, "shapes": 12}
# The share of captions of pictures for themselves that name an attribute less: "a star" or "a red
# shape" for a red star, "a woman with dark skin" or "an astronaut with dark skin" for a woman
# astronaut with dark skin; and the shares of shapes in colours and in forms without a name.
VAGUE = {"worker": 0.4, "shape": 0.2, "shapes": 0.2}
NAMELESS_COLOUR, NAMELESS_FORM = 0.35, 0.25
GROUP = 8  # pictures that follow each other, alike in one group of two
LOOSE = ("scene", "worker")  # kinds that may have a loose style
Objects = tuple[Drawable, ...]


@dataclass(frozen=True)
class Content:
    """What a picture shows.

    Args:
        kind: one of MIXTURE.
        drawables: one or two objects.
        background: one of BACKGROUNDS; "" with a style.
        vague: see `Scene`.
        style: see `Scene`.
    """

    kind: str
    drawables: Objects
    background: str
    vague: float = 0.0
    style: str = ""


@dataclass(frozen=True)
class Recipe:
    """What training pictures are mixed from.

    Args:
        shares: kinds of MIXTURE and how much of each.
        alike: the share of groups that are nearly alike, 0 to 1.
        loose: the share of things and people that are drawn in a loose style, 0 to 1.

    Raises:
        ConfigError: an unknown kind, or shares out of range.
    """

    shares: Mapping[str, float] = field(default_factory=lambda: MIXTURE)
    alike: float = 0.5
    loose: float = 0.0

    def __post_init__(self) -> None:
        unknown = set(self.shares) - set(MIXTURE)
        if unknown:
            raise ConfigError(
                f"unknown kind {', '.join(sorted(unknown))}: expected some of {', '.join(MIXTURE)}"
            )
        values = self.shares.values()
        parts = 0 <= self.alike <= 1 and 0 <= self.loose <= 1
        if not (parts and all(0 <= v < inf for v in values) and sum(values) > 0):
            raise ConfigError(
                "shares of kinds, of groups alike and of loose styles: expected 0 and more, and 0 "
                "to 1"
            )

    def kind(self, random: Random) -> str:
        """One of the kinds."""
        return random.choices(list(self.shares), list(self.shares.values()))[0]

    def style(self, kind: str, source: str) -> str:
        """One of the loose styles, or ""; dice of its own, so that all else stays the same."""
        dice = Random(f"{source}/style")
        return dice.choice(TRAINED) if kind in LOOSE and dice.random() < self.loose else ""


USUAL = Recipe()


def content(source: str, index: int, random: Random, recipe: Recipe = USUAL) -> Content:
    """What training picture `index` shows.

    Args:
        source: "split/seed".
        index: 0, 1, 2 ...
        random: the picture's own dice.
        recipe: what it is one of.
    """
    number, place = divmod(index, GROUP)
    shared = Random(f"{source}/group {number}")
    if shared.random() < recipe.alike:
        return alike(shared, recipe, f"{source}/group {number}")[place]
    kind = recipe.kind(random)
    drawables = _ALONE[kind](random)
    background, style = _background(random, drawables), recipe.style(kind, f"{source}/{index}")
    return Content(kind, drawables, "" if style else background, VAGUE.get(kind, 0.0), style)


def alike(random: Random, recipe: Recipe = USUAL, source: str = "") -> list[Content]:
    """GROUP pictures of one kind on one ground that differ in as little as can be named.

    Args:
        random: the group's dice.
        recipe: what they are some of.
        source: what fixes their style, which they share.
    """
    kind = recipe.kind(random)
    group = _ALIKE[kind](random)
    background = _background(random, [it for drawables in group for it in drawables])
    style = recipe.style(kind, source)
    return [Content(kind, them, "" if style else background, style=style) for them in group]


def _background(random: Random, drawables: Sequence[Drawable]) -> str:
    """A background on which training may show these, and on which shapes can be seen."""
    while True:
        background = random.choice(BACKGROUNDS)
        hidden = any(isinstance(it, Shape) and it.colour == background for it in drawables)
        if not hidden and not any(is_held_out_scene(it.key, background) for it in drawables):
            return background


@lru_cache(maxsize=1)
def _seen_shapes() -> list[Shape]:
    return [shape for shape in shapes() if not is_held_out_shape(shape)]


@lru_cache(maxsize=1)
def _seen_workers() -> list[Worker]:
    return [worker for worker in workers() if not is_held_out_worker(worker)]


def _pair(random: Random) -> Objects:
    while True:
        pair = random.sample(things(), 2)
        if not is_held_out_pair(pair[0].key, pair[1].key):
            return tuple(pair)


def _shapes(random: Random, count: int) -> Objects:
    return tuple(_less_named(random, it) for it in random.sample(_seen_shapes(), count))


def _less_named(random: Random, shape: Shape) -> Shape:
    """The shape, or one of its form in some other colour, or of its colour in some other form."""
    dice = random.random()
    if dice < NAMELESS_COLOUR:
        return replace(shape, colour="")
    if dice < NAMELESS_COLOUR + NAMELESS_FORM:
        return replace(shape, shape="")
    return shape


def _alike_things(random: Random) -> list[Objects]:
    """Things of one category."""
    category = random.choice(things()).category
    return [(it,) for it in random.sample([t for t in things() if t.category == category], GROUP)]


def _alike_workers(random: Random) -> list[Objects]:
    """Men and women of one profession in several skin tones, or the reverse."""
    first = random.choice(_seen_workers())
    if random.random() < 0.5:
        pool = [it for it in _seen_workers() if it.work == first.work]
        return [(it,) for it in random.sample(pool, GROUP)]
    pool = [it for it in _seen_workers() if it.tone == first.tone]
    works = random.sample(sorted({it.work for it in pool}), GROUP // 2)
    group = [it for it in pool if it.work in works]
    return [(it,) for it in random.sample(group, GROUP)]


def _alike_pairs(random: Random) -> list[Objects]:
    """Several of the pairs that six things make."""
    while True:
        some = combinations(random.sample(things(), 6), 2)
        pairs = [pair for pair in some if not is_held_out_pair(pair[0].key, pair[1].key)]
        if len(pairs) >= GROUP:
            return [tuple(random.sample(pair, 2)) for pair in random.sample(pairs, GROUP)]


def _alike_shapes(random: Random, count: int) -> list[Objects]:
    """Shapes of one colour, or of one form; at times of colours or forms without a name."""
    first = random.choice(_seen_shapes())
    if random.random() < 0.6:
        pool = [it for it in _seen_shapes() if it.colour == first.colour]
        less = {"colour": ""}
    else:
        pool = [it for it in _seen_shapes() if it.shape == first.shape]
        less = {"shape": ""}
    if random.random() < 0.3:
        pool = [replace(it, **less) for it in pool]
    return random.sample(list(combinations(random.sample(pool, len(pool)), count)), GROUP)


_ALONE = {
    "scene": lambda random: (random.choice(things()),),
    "worker": lambda random: (random.choice(_seen_workers()),),
    "pair": _pair,
    "shape": lambda random: _shapes(random, 1),
    "shapes": lambda random: _shapes(random, 2),
}
_ALIKE = {
    "scene": _alike_things,
    "worker": _alike_workers,
    "pair": _alike_pairs,
    "shape": lambda random: _alike_shapes(random, 1),
    "shapes": lambda random: _alike_shapes(random, 2),
}
