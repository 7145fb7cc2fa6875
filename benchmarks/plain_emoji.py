"""How well a model knows emoji that another program draws, under Unicode's bare names.

    python benchmarks/plain_emoji.py [--model FILE] [--languages en,de,es,ja] [--out FILE]

The bundled model's own held-out images come from the generator that taught it, so they flatter it.
Here each emoji is written as text onto one colour, as any program does it: no shadow, no outline,
margins and size as they come, and then it is saved as PNG or as JPEG. The names are those of the
`emoji` package as they are: no article, no everyday word. Each image is looked for among all names.
`some` are 60 emoji, drawn by lot, among 60 names; `all` is every thing that the bundled model has
seen.
"""

from __future__ import annotations

import argparse
import json
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np
from measuring import machine
from PIL import Image, ImageDraw

from nnclip.clip import CLIP
from nnclip.drawing.catalogue import emoji_name, things
from nnclip.drawing.glyphs import emoji_font
from nnclip.embeddings import unit

SEED, SOME, DRAWS = 60, 60, 10
GROUNDS = ("white", "black", "lightgrey", "navy", "gold", "seagreen", "salmon", "skyblue", "plum")


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="an .h5; default: the bundled one")
    parser.add_argument("--languages", default="en,de,es,ja", help="(%(default)s)")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    model, random = CLIP(args.model, precision="fp32"), Random(SEED)
    glyphs = [thing.key for thing in things()]
    pixels = [model.preprocess(written(glyph, random)) for glyph in glyphs]
    images = unit(model.encode_image(np.stack(pixels)))
    lots = [random.sample(range(len(glyphs)), SOME) for _ in range(DRAWS)]
    content = {"benchmark": "plain_emoji", "machine": machine(), "emoji": len(glyphs)}
    print(f"{'':4} {'some':>7} {'all':>7}   of {SOME} and {len(glyphs)}")
    for code in args.languages.split(","):
        names = [emoji_name(glyph, code) for glyph in glyphs]
        cosines = images @ unit(model.encode_text(model.tokenize(names))).T
        some = [right(cosines[np.ix_(lot, lot)]) for lot in lots]
        found = {"some": float(np.mean(some)), "all": right(cosines)}
        content[code] = found
        print(f"{code:4} {found['some']:7.1%} {found['all']:7.1%}")
    if args.out is not None:
        args.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content), flush=True)
    return 0


def written(glyph: str, random: Random) -> Image.Image:
    """An emoji as text on one colour, out of a file."""
    side = random.choice((136, 150, 180, 220))
    image = Image.new("RGB", (side, side), random.choice(GROUNDS))
    draw = ImageDraw.Draw(image)
    draw.text((side // 2, side // 2), glyph, font=emoji_font(), embedded_color=True, anchor="mm")
    size = random.choice((64, 96, 128, side))
    file = BytesIO()
    image = image.resize((size, size), Image.Resampling.BICUBIC)
    image.save(file, **random.choice(({"format": "PNG"}, {"format": "JPEG", "quality": 75})))
    return Image.open(file).convert("RGB")


def right(cosines: np.ndarray) -> float:
    """Top-1 accuracy of (N, N) cosines, images by names: image n shows name n."""
    return float((cosines.argmax(1) == np.arange(len(cosines))).mean())


if __name__ == "__main__":
    raise SystemExit(main())
