"""Draws captioned images: emoji and shapes on backgrounds, captions in fourteen languages.

    image, caption, record = draw_pair(seed=0, index=7)

Image k depends on (split, seed, k) alone. `nnclip.drawing.splits` says what is never drawn for
training.
"""

from collections.abc import Sequence

from PIL import Image

from nnclip.drawing.captions import name_of, say
from nnclip.drawing.catalogue import Thing
from nnclip.drawing.languages import LANGUAGES
from nnclip.drawing.painting import paint
from nnclip.drawing.scene import Scene, compose
from nnclip.drawing.splits import SPLITS

__all__ = [
    "ALL_LANGUAGES",
    "SPLITS",
    "compose",
    "describe",
    "draw_pair",
    "paint",
    "record_of",
    "say",
]

ALL_LANGUAGES = tuple(LANGUAGES)


def record_of(scene: Scene, language: str) -> dict[str, str]:
    """What is known of an image beside its caption, as columns of text.

    Returns:
        kind ("scene", "worker", "pair", "shape" or "shapes"), category (of a thing, else the
        kind), language, label (the objects' canonical names in that language, joined by " + "),
        background, layout, objects (the emoji drawn, or "red star").
    """
    first = scene.items[0].what
    alone = len(scene.items) == 1 and isinstance(first, Thing)
    return {
        "kind": scene.kind,
        "category": first.category if alone and isinstance(first, Thing) else scene.kind,
        "language": language,
        "label": " + ".join(name_of(item.what, language) for item in scene.items),
        "background": scene.background,
        "layout": scene.layout,
        "objects": " + ".join(item.glyph or item.what.key for item in scene.items),
    }


def describe(
    scene: Scene, languages: Sequence[str] = ALL_LANGUAGES, variant: int = 0
) -> tuple[str, dict[str, str]]:
    """A caption in one of `languages`, drawn by the scene's own dice, and the scene's record.

    Raises:
        ConfigError: no such language.
    """
    language = scene.random(f"language {variant}").choice(list(languages))
    return say(scene, language, variant), record_of(scene, language)


def draw_pair(
    seed: int,
    index: int,
    split: str = "train",
    size: int = 224,
    languages: Sequence[str] = ALL_LANGUAGES,
) -> tuple[Image.Image, str, dict[str, str]]:
    """One captioned image; the same arguments always give the same one.

    Args:
        seed: another seed gives other images; what is held out stays the same.
        index: 0, 1, 2 ...
        split: one of SPLITS.
        size: pixels; the same scene at any size.
        languages: codes to choose from; repeat one to see it more often.

    Returns:
        The RGB image, its caption and `record_of` it.

    Raises:
        ConfigError: no such split or language.
        DataError: the emoji font or Pillow's layout engine is missing.
    """
    scene = compose(split, seed, index)
    return paint(scene, size), *describe(scene, languages)
