"""What is in one picture, drawn up from (split, seed, index) alone, and how it is painted.

The same scene can be painted at any size (`nnclip.drawing.painting`) and said in any language
(`nnclip.drawing.captions`).
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

from nnclip.drawing.catalogue import Drawable, Shape, Thing, Worker, shapes, things, workers
from nnclip.drawing.language import BACKGROUNDS
from nnclip.drawing.splits import (
    HELD_OUT,
    SPLITS,
    held_out,
    is_held_out_pair,
    is_held_out_scene,
    is_held_out_shape,
    is_held_out_worker,
)
from nnclip.errors import ConfigError

# Kinds of picture and their shares in training.
MIXTURE = {"scene": 42, "worker": 18, "pair": 16, "shape": 12, "shapes": 12}
# The share of training captions that name an attribute less: "a star" or "a red shape" for a red
# star, "a woman with dark skin" or "an astronaut with dark skin" for a woman astronaut with dark
# skin; and the shares of shapes in colours and in forms without a name. Else each combination is
# learnt for itself: a model without these knew the form of one unseen coloured shape in six.
VAGUE = {"worker": 0.4, "shape": 0.2, "shapes": 0.2}
NAMELESS_COLOUR, NAMELESS_FORM = 0.35, 0.25
# `heldout` repeats this cycle, which holds its kinds in about those shares.
CYCLE = tuple(HELD_OUT[int(digit)] for digit in "02010030202010030200")


@dataclass(frozen=True)
class Item:
    """One object in its place.

    Args:
        what: the object.
        glyph: the emoji that shows it; "" for a shape.
        at: its centre, as fractions of the picture from the left and from the top.
        extent: its longer side, as a fraction of the picture.
        turn: degrees, anticlockwise.
        rim: white outline, as on a sticker.
    """

    what: Drawable
    glyph: str
    at: tuple[float, float]
    extent: float
    turn: float
    rim: bool


@dataclass(frozen=True)
class Scene:
    """One picture's content.

    Args:
        source: what fixes all chance in it: "split/seed/index".
        kind: one of MIXTURE.
        background: one of BACKGROUNDS.
        items: one or two objects.
        layout: "alone", "beside" (the first on the left), "stacked" (the first above) or
            "scattered".
        placed: whether a caption has to name the background.
        vague: the share of captions that leave out a shape's colour or a worker's profession.
    """

    source: str
    kind: str
    background: str
    items: tuple[Item, ...]
    layout: str
    placed: bool
    vague: float = 0.0

    def random(self, purpose: str) -> Random:
        """A generator for one purpose, the same in every run."""
        return Random(f"{self.source}/{purpose}")


@lru_cache(maxsize=1)
def _seen_shapes() -> list[Shape]:
    return [shape for shape in shapes() if not is_held_out_shape(shape)]


@lru_cache(maxsize=1)
def _seen_workers() -> list[Worker]:
    return [worker for worker in workers() if not is_held_out_worker(worker)]


def _item(random: Random, what: Drawable, at: tuple[float, float], extent: float) -> Item:
    if isinstance(what, Thing):
        glyph = random.choice(what.glyphs)
    else:
        glyph = what.glyph if isinstance(what, Worker) else ""
    turn = random.uniform(-18, 18) if random.random() < 0.7 else 0.0
    return Item(what, glyph, at, extent, turn, random.random() < 0.2)


def _alone(random: Random, what: Drawable) -> tuple[Item]:
    # people at work are told apart by small things: they are drawn large
    extent = random.uniform(0.7 if isinstance(what, Worker) else 0.48, 0.88)
    room = (0.98 - extent) / 2
    at = (0.5 + random.uniform(-room, room), 0.5 + random.uniform(-room, room))
    return (_item(random, what, at, extent),)


def _two(random: Random, pair: tuple[Drawable, ...]) -> tuple[tuple[Item, ...], str]:
    """Two objects that do not overlap, and their layout."""
    layout = random.choice(("beside", "stacked", "scattered"))
    apart, slants = random.uniform(0.23, 0.26), [random.uniform(-0.14, 0.14) for _ in pair]
    if layout == "scattered":
        slants = [-0.24, 0.24] if random.random() < 0.5 else [0.24, -0.24]
    items = []
    for what, side, slant in zip(pair, (-apart, apart), slants, strict=True):
        x, y = (slant, side) if layout == "stacked" else (side, slant)
        items.append(_item(random, what, (0.5 + x, 0.5 + y), random.uniform(0.4, 0.48)))
    return tuple(items), layout


def _background(random: Random, drawables: tuple[Drawable, ...]) -> str:
    """A background on which training may show these, and on which shapes can be seen."""
    while True:
        background = random.choice(BACKGROUNDS)
        hidden = any(isinstance(it, Shape) and it.colour == background for it in drawables)
        if not hidden and not any(is_held_out_scene(it.key, background) for it in drawables):
            return background


def _seen(random: Random) -> tuple[str, tuple[Drawable, ...]]:
    """The kind and the objects of a training picture."""
    kind = random.choices(list(MIXTURE), list(MIXTURE.values()))[0]
    if kind == "scene":
        return kind, (random.choice(things()),)
    if kind == "worker":
        return kind, (random.choice(_seen_workers()),)
    if kind == "pair":
        pair = random.sample(things(), 2)
        while is_held_out_pair(pair[0].key, pair[1].key):
            pair = random.sample(things(), 2)
        return kind, tuple(pair)
    chosen = random.sample(_seen_shapes(), 1 if kind == "shape" else 2)
    return kind, tuple(_less_named(random, shape) for shape in chosen)


def _less_named(random: Random, shape: Shape) -> Shape:
    """The shape, or one of its form in some other colour, or of its colour in some other form."""
    dice = random.random()
    if dice < NAMELESS_COLOUR:
        return replace(shape, colour="")
    if dice < NAMELESS_COLOUR + NAMELESS_FORM:
        return replace(shape, shape="")
    return shape


def _unseen(split: str, place: int) -> tuple[str, tuple[Drawable, ...], str]:
    """Kind, objects and background of picture `place` of a split of HELD_OUT."""
    combinations = held_out(split)
    lap, place = divmod(place, len(combinations))
    found = combinations[place]
    colours = [it.colour for it in found.drawables if isinstance(it, Shape)]
    free = [name for name in BACKGROUNDS if name not in colours]
    Random(f"{split}/{place}").shuffle(free)
    kind = split.removeprefix("heldout-").removesuffix("s")
    return kind, found.drawables, found.background or free[lap % len(free)]


def compose(split: str, seed: int, index: int) -> Scene:
    """What picture `index` of a split shows; it depends on the three arguments alone.

    Args:
        split: one of `nnclip.drawing.splits.SPLITS`.
        seed: another seed gives other pictures; held-out combinations stay the same.
        index: 0, 1, 2 ...

    Raises:
        ConfigError: no such split.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    source = f"{split}/{seed}/{index}"
    random = Random(source)
    vague = 0.0
    if split == "train":
        kind, drawables = _seen(random)
        vague = VAGUE.get(kind, 0.0)
        background = _background(random, drawables)
    else:
        place = index
        if split == "heldout":
            lap, at = divmod(index, len(CYCLE))
            split = CYCLE[at]
            place = lap * CYCLE.count(split) + CYCLE[:at].count(split)
        kind, drawables, background = _unseen(split, place)
    if len(drawables) == 2:
        items, layout = _two(random, drawables)
        return Scene(source, kind, background, items, layout, random.random() < 0.2, vague)
    placed = split != "train" or random.random() < 0.55
    return Scene(source, kind, background, _alone(random, drawables[0]), "alone", placed, vague)
