"""Draws the pictures that come with nnclip: assets/examples/, and the one that `classify` shows.

All of them are held out: no training picture shows these combinations. The emoji are Noto's, whose
licence (SIL OFL 1.1) lets pictures be made with it.
"""

import argparse
import csv
import io
import re
from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path

from nnclip.drawing import compose, describe, paint
from nnclip.drawing.scene import Scene

SEED = 7
SIZE = 320
QUALITY = 86
TABLE = "pairs.csv"
FIRST = "a seal on the beach"  # also assets/example.jpg
# split -> the numbers of pictures that look good, chosen by eye
CHOSEN = {
    "heldout-scenes": (36, 11, 26, 3, 25, 16, 32, 22, 9, 47, 24, 30, 17, 31, 37, 41, 19, 23, 35,
                       46, 38, 21, 14, 5, 10, 12, 2, 0, 29, 44),
    "heldout-workers": (2, 20, 16, 42, 11, 3, 27, 46, 36, 43, 37, 19, 44, 8),
    "heldout-pairs": (48, 30, 44, 14, 43, 42, 15, 25, 11, 21, 45, 47, 31, 49),
    "heldout-shapes": (12, 10, 45, 0, 4, 7, 24, 33, 35, 36, 18, 27, 9, 13),
}  # fmt: skip
QUESTION = (
    FIRST,
    "a seal in the snow",
    "a dog on the beach",
    "a palm tree on the beach",
    "a crocodile under water",
    "a woman astronaut",
    "a red circle",
)


def scenes() -> Iterator[Scene]:
    """The pictures; kinds take turns: the first dozen shows them all."""
    numbered = [[(split, index) for index in indices] for split, indices in CHOSEN.items()]
    for split, index in filter(None, chain.from_iterable(zip_longest(*numbered))):
        yield compose(split, SEED, index)


def drawn() -> Iterator[tuple[str, bytes]]:
    """Caption and JPEG of each picture."""
    for scene in scenes():
        file = io.BytesIO()
        paint(scene, SIZE).save(file, "JPEG", quality=QUALITY, optimize=True)
        yield caption_of(scene), file.getvalue()


def caption_of(scene: Scene) -> str:
    """The English caption without the words that only say that it is a picture."""
    caption, _ = describe(scene, ("en",))
    return re.sub(r"^a (picture|drawing|photo) of ", "", caption)


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("assets", type=Path, nargs="?", default=Path("assets"))
    assets = parser.parse_args().assets
    folder = assets / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [("filepath", "title")]
    for caption, data in drawn():
        path = folder / (re.sub(r"\W+", "-", caption.lower()) + ".jpg")
        path.write_bytes(data)
        rows.append((path.name, caption))
        if caption == FIRST:
            (assets / "example.jpg").write_bytes(data)
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)
    (assets / "example.txt").write_text("\n".join(QUESTION) + "\n", encoding="utf-8")
    print(f"{len(rows) - 1} pictures in {folder}")


if __name__ == "__main__":
    main()
