"""What is in one image, drawn up from (split, seed, index) alone, and how it is painted.

The same scene can be painted at any size (`nnclip.drawing.painting`) and said in any language
(`nnclip.drawing.captions`).
"""

from dataclasses import dataclass, replace
from random import Random

from nnclip.drawing.catalogue import Drawable, Shape, Thing, Worker
from nnclip.drawing.contents import USUAL, Content, Recipe, content
from nnclip.drawing.language import BACKGROUNDS
from nnclip.drawing.splits import HELD_OUT, SPLITS, STYLED, held_out
from nnclip.drawing.styles import HELD_OUT_STYLE
from nnclip.errors import ConfigError

# `heldout` repeats this cycle, which holds its kinds in about those shares.
CYCLE = tuple(HELD_OUT[int(digit)] for digit in "02010030202010030200")


@dataclass(frozen=True)
class Item:
    """One object in its place.

    Args:
        what: the object.
        glyph: the emoji that shows it; "" for a shape.
        at: its centre, as fractions of the image from the left and from the top.
        extent: its longer side, as a fraction of the image.
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
    """One image's content.

    Args:
        source: what fixes all chance in it: "split/seed/index".
        kind: one of `contents.MIXTURE`.
        background: one of BACKGROUNDS; "" with a style.
        items: one or two objects.
        layout: "alone", "beside" (the first on the left), "stacked" (the first above) or
            "scattered".
        placed: whether a caption has to name the background.
        vague: the share of captions that leave out a shape's colour or a worker's profession.
        style: one of `styles.EFFECTS`, which is how others render it; "" for the usual way.
    """

    source: str
    kind: str
    background: str
    items: tuple[Item, ...]
    layout: str
    placed: bool
    vague: float = 0.0
    style: str = ""

    def random(self, purpose: str) -> Random:
        """A generator for one purpose, the same in every run."""
        return Random(f"{self.source}/{purpose}")


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


def _loose(random: Random, what: Drawable) -> tuple[Item]:
    """As others draw it: upright but for every fourth, without an outline, of any size."""
    extent = random.uniform(0.6 if isinstance(what, Worker) else 0.3, 1.0)
    room = (1 - extent) / 2 * (random.random() < 0.5)
    at = (0.5 + random.uniform(-room, room), 0.5 + random.uniform(-room, room))
    turn = random.uniform(-12, 12) if random.random() < 0.25 else 0.0
    return (replace(_item(random, what, at, extent), turn=turn, rim=False),)


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


def _unseen(split: str, place: int) -> Content:
    """What image `place` of a split of HELD_OUT, or of STYLED, shows."""
    combinations = held_out(split)
    lap, place = divmod(place, len(combinations))
    found = combinations[place]
    if split == STYLED:
        return Content("scene", found.drawables, "", style=HELD_OUT_STYLE)
    colours = [it.colour for it in found.drawables if isinstance(it, Shape)]
    free = [name for name in BACKGROUNDS if name not in colours]
    Random(f"{split}/{place}").shuffle(free)
    kind = split.removeprefix("heldout-").removesuffix("s")
    return Content(kind, found.drawables, found.background or free[lap % len(free)])


def compose(split: str, seed: int, index: int, recipe: Recipe = USUAL) -> Scene:
    """What image `index` of a split shows; it depends on the arguments alone.

    Args:
        split: one of `nnclip.drawing.splits.SPLITS`.
        seed: another seed gives other images; held-out combinations stay the same.
        index: 0, 1, 2 ...
        recipe: what `train` is mixed from; other splits do not ask for it.

    Raises:
        ConfigError: no such split.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    source = f"{split}/{seed}/{index}"
    random = Random(source)
    if split == "train":
        shown = content(f"{split}/{seed}", index, random, recipe)
    else:
        place = index
        if split == "heldout":
            lap, at = divmod(index, len(CYCLE))
            split = CYCLE[at]
            place = lap * CYCLE.count(split) + CYCLE[:at].count(split)
        shown = _unseen(split, place)
    if len(shown.drawables) == 2:
        items, layout = _two(random, shown.drawables)
        placed = random.random() < 0.2
    elif shown.style:
        items, layout, placed = _loose(random, shown.drawables[0]), "alone", False
    else:
        items, layout = _alone(random, shown.drawables[0]), "alone"
        placed = split != "train" or random.random() < 0.55
    return Scene(
        source, shown.kind, shown.background, items, layout, placed, shown.vague, shown.style
    )
