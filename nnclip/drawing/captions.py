"""Says in words what a scene shows."""

from dataclasses import replace

from nnclip.drawing.catalogue import Drawable, Shape, Worker, emoji_name
from nnclip.drawing.language import Language
from nnclip.drawing.languages import LANGUAGES
from nnclip.drawing.scene import Scene
from nnclip.errors import ConfigError

BARE = 0.6  # of the captions of loose styles: Unicode's name of the emoji, without an article


def language_of(code: str) -> Language:
    """The language with a code of LANGUAGES.

    Raises:
        ConfigError: no such language; names those there are.
    """
    if code not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise ConfigError(f"unknown language {code!r}: captions are written in {known}")
    return LANGUAGES[code]


def name_of(what: Drawable, code: str) -> str:
    """What an object is called: one canonical noun phrase per language."""
    language = language_of(code)
    if isinstance(what, Shape):
        return language.shape(what.colour, what.shape) if what.colour else language.form(what.shape)
    return language.noun(emoji_name(what.key, code))


def vague_names(what: Drawable, code: str) -> list[str]:
    """What else it may be called, naming an attribute less; nothing for a thing.

    A shape without its colour ("a star") or its form ("a red shape"); a worker without the
    profession ("a woman with dark skin"), or without the sex ("an astronaut with dark skin") where
    a language has a word for both.
    """
    language = language_of(code)
    if isinstance(what, Shape):
        less = (replace(what, colour=""), replace(what, shape=""))
        return [name_of(it, code) for it in less if it.key]
    if not isinstance(what, Worker):
        return []
    both = emoji_name(what.colleague, code)
    names = [emoji_name(what.person, code)]
    if both not in (emoji_name(key, code) for key in what.sexes):
        names.append(both)
    return [language.noun(name) for name in names]


def say(scene: Scene, code: str, variant: int = 0) -> str:
    """One caption of a scene.

    Args:
        scene: what to describe.
        code: one of LANGUAGES.
        variant: other numbers may choose another pattern or another order of two objects.

    Raises:
        ConfigError: no such language.
    """
    language, random = language_of(code), scene.random(f"caption {code} {variant}")
    names = [name_of(item.what, code) for item in scene.items]
    dice = scene.random(f"vague {code} {variant}")
    if dice.random() < scene.vague:
        names = [dice.choice(vague_names(item.what, code)) for item in scene.items]
    if scene.style and dice.random() < BARE:
        return emoji_name(scene.items[0].glyph, code)
    place = language.place(scene.background) if scene.placed else ""
    if len(names) == 1:
        pattern = random.choice(language.placed if scene.placed else language.alone)
        return language.fix(pattern.format(x=names[0], place=place))
    if scene.layout != "scattered" and random.random() < 0.4:
        pattern = language.beside if scene.layout == "beside" else language.stacked
        return language.fix(pattern.format(a=names[0], b=names[1]))
    random.shuffle(names)
    if scene.placed:  # the first patterns are the plainest: "{a} and {b}", "{x} {place}"
        both = language.together[0].format(a=names[0], b=names[1])
        return language.fix(language.placed[0].format(x=both, place=place))
    return language.fix(random.choice(language.together).format(a=names[0], b=names[1]))
