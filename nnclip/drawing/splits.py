"""Which combinations are never drawn for training, and how the held-out ones are enumerated.

Four kinds of combination are held out, in every language and in every image of `train`:

- `heldout-scenes`: a thing on a background (one in ten of all pairs of the two);
- `heldout-workers`: a profession in a skin tone, as man and as woman (one in six);
- `heldout-pairs`: two things together (one in ten of all pairs), wherever they stand;
- `heldout-shapes`: a colour with a shape (one in five; each colour and each shape is still seen);

and one way of rendering:

- `heldout-styles`: every thing and every emoji of it, in a style that training never draws.

`heldout` is scenes, workers, pairs and shapes in the proportions of training. Image k of a
held-out split shows combination k of a list in a fixed, shuffled order, and past its end
the list again on other backgrounds, so that no two of the first thousand images are the same.
"""

import random
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from itertools import combinations

from nnclip.drawing.catalogue import (
    COLOURS,
    SHAPES,
    TONES,
    Drawable,
    Shape,
    Worker,
    shapes,
    things,
    workers,
)
from nnclip.drawing.language import BACKGROUNDS
from nnclip.errors import ConfigError

HELD_OUT = ("heldout-scenes", "heldout-workers", "heldout-pairs", "heldout-shapes")
STYLED = "heldout-styles"
SPLITS = ("train", "heldout", *HELD_OUT, STYLED)


@dataclass(frozen=True)
class Combination:
    """What a held-out image must show; `background` is "" where any will do."""

    drawables: tuple[Drawable, ...]
    background: str = ""


def _chosen(*words: str, one_in: int) -> bool:
    """True for one in `one_in` of all tuples of words, the same ones on every machine."""
    digest = blake2b("|".join(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % one_in == 0


@lru_cache(maxsize=200_000)
def is_held_out_scene(key: str, background: str) -> bool:
    """Whether the thing named by `key` is never drawn for training on `background`."""
    return _chosen("scene", key, background, one_in=10)


@lru_cache(maxsize=400_000)
def is_held_out_pair(first: str, second: str) -> bool:
    """Whether two things (their keys, in any order) never stand together in training."""
    return _chosen("pair", *sorted((first, second)), one_in=10)


def is_held_out_worker(worker: Worker) -> bool:
    """Whether this profession is never drawn for training in this skin tone."""
    return worker.tone == worker.work % len(TONES)


def is_held_out_shape(shape: Shape) -> bool:
    """Whether this shape is never drawn for training in this colour."""
    if not (shape.colour and shape.shape):  # one of the two has no name
        return False
    return (COLOURS.index(shape.colour) + 2 * SHAPES.index(shape.shape)) % 5 == 0


@lru_cache(maxsize=8)
def held_out(split: str) -> tuple[Combination, ...]:
    """The combinations of a split of HELD_OUT, or of STYLED, in their fixed order.

    Raises:
        ConfigError: no such split.
    """
    if split == "heldout-scenes":
        scenes = ((thing, name) for thing in things() for name in BACKGROUNDS)
        found = [Combination((t,), name) for t, name in scenes if is_held_out_scene(t.key, name)]
    elif split == "heldout-workers":
        found = [Combination((worker,)) for worker in workers() if is_held_out_worker(worker)]
    elif split == "heldout-pairs":
        pairs = combinations(things(), 2)
        found = [Combination(pair) for pair in pairs if is_held_out_pair(pair[0].key, pair[1].key)]
    elif split == STYLED:
        found = [
            Combination((replace(it, glyphs=(glyph,)),)) for it in things() for glyph in it.glyphs
        ]
    elif split == "heldout-shapes":
        found = [Combination((shape,)) for shape in shapes() if is_held_out_shape(shape)]
    else:
        raise ConfigError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}")
    random.Random(split).shuffle(found)
    return tuple(found)
