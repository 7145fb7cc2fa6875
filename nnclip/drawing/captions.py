"""Says in words what a scene shows."""

from nnclip.drawing.catalogue import Drawable, Shape, Worker, emoji_name
from nnclip.drawing.language import Language
from nnclip.drawing.languages import LANGUAGES
from nnclip.drawing.scene import Scene
from nnclip.errors import ConfigError


def language_of(code: str) -> Language:
    """The language with a code of LANGUAGES.

    Raises:
        ConfigError: no such language; names those there are.
    """
    if code not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise ConfigError(f"unknown language {code!r}: captions are written in {known}")
    return LANGUAGES[code]


def name_of(what: Drawable, code: str, vague: bool = False) -> str:
    """What an object is called: one canonical noun phrase per language.

    Args:
        what: the object.
        code: one of LANGUAGES.
        vague: leave out a shape's colour ("a star") and a worker's profession ("a woman with dark
            skin").
    """
    language = language_of(code)
    if isinstance(what, Shape):
        return language.form(what.shape) if vague else language.shape(what.colour, what.shape)
    key = what.person if vague and isinstance(what, Worker) else what.key
    return language.noun(emoji_name(key, code))


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
    vague = scene.random(f"vague {code} {variant}").random() < scene.vague
    names = [name_of(item.what, code, vague) for item in scene.items]
    place = language.place(scene.background)
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
