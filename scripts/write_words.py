"""Writes assets/examples/words.json: what the page offers to ask, in each language of the drawings.

Only words that the drawings' captions use, so that a model trained on them knows them.
"""

import argparse
import json
from pathlib import Path

from nnclip.drawing import ALL_LANGUAGES
from nnclip.drawing.captions import language_of, name_of
from nnclip.drawing.catalogue import COLOURS, SHAPES, Drawable, Worker, things, workers
from nnclip.drawing.language import SCENES
from nnclip.drawing.scene import Scene
from scripts.draw_examples import scenes

FRONT = 12  # pictures that the page shows first
ANIMALS = "🦭🐎🐅🐧🦝🐊🐓🪲🐺🐈🐕🐘"
WORK = (14, 5, 9, 6, 15, 13, 3, 11)  # professions, as the catalogue counts them
IDEAS = ("🍕", "🏰")


def words(code: str) -> dict[str, list[str]]:
    """Lists by what they are called on the page; "" holds what may be searched for.

    Args:
        code: one of ALL_LANGUAGES.
    """
    language = language_of(code)
    thing = {glyph: name_of(t, code) for t in things() for glyph in t.glyphs}
    people = [w for work in WORK for w in workers() if w.work == work and not w.tone]
    front = list(scenes())[:FRONT]
    lists = {
        "Pictured here": [_short(scene, code) for scene in front],
        "Animals": [thing[glyph] for glyph in ANIMALS],
        "Places": [language.place(place) for place in SCENES],
        "Colours of a star": [language.shape(colour, "star") for colour in COLOURS],
        "Shapes in yellow": [language.shape("yellow", shape) for shape in SHAPES],
        "People at work": [name_of(worker, code) for worker in people],
        "": [
            language.place("underwater"),
            language.form("star"),
            *(thing[glyph] for glyph in IDEAS),
            name_of(people[0], code),
            language.placed[0].format(x=thing[ANIMALS[0]], place=language.place("snow")),
        ],
    }
    return {name: [language.fix(text) for text in texts] for name, texts in lists.items()}


def _short(scene: Scene, code: str) -> str:
    """What a scene shows, without where, and people without their skin."""
    names = [name_of(_plain(item.what), code) for item in scene.items]
    return (
        names[0]
        if len(names) == 1
        else language_of(code).together[0].format(a=names[0], b=names[1])
    )


def _plain(what: Drawable) -> Drawable:
    if not isinstance(what, Worker):
        return what
    # man and woman take turns, tone by tone
    same = [w for w in workers() if w.work == what.work]
    return same[same.index(what) % 2]


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("assets", type=Path, nargs="?", default=Path("assets"))
    path = parser.parse_args().assets / "examples" / "words.json"
    found = {code: words(code) for code in ALL_LANGUAGES}
    path.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{len(found)} languages in {path}")


if __name__ == "__main__":
    main()
