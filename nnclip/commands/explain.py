"""`nnclip explain`: where in an image each text is found."""

import argparse
import json
from pathlib import Path

import numpy as np

from nnclip.commands.options import add_model_arguments, load_model
from nnclip.errors import ConfigError
from nnclip.explain import DEFAULT, METHODS
from nnclip.extras import extra
from nnclip.files import shown, to_name
from nnclip.image import open_image

HELP = "show where in an image each text is found"
SUFFIXES = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("image", metavar="IMAGE", help="an image file")
    parser.add_argument(
        "-t", "--text", action="append", required=True, help="what to find; repeat it"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help=f"draw maps: {', '.join(SUFFIXES)}"
    )
    parser.add_argument(
        "--method",
        choices=tuple(METHODS),
        default=DEFAULT,
        help="; ".join(f"{it.name}: {it.about}" for it in METHODS.values()) + " (%(default)s)",
    )
    parser.add_argument(
        "--resolution", type=int, metavar="PIXELS", help="along a side: more gives finer maps"
    )
    parser.add_argument("--json", action="store_true", help="print maps and highest places")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print where each text is found best, and draw its map."""
    if args.output and args.output.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"-o {args.output}: found {args.output.suffix or 'no suffix'}, expected one of "
            f"{', '.join(SUFFIXES)}"
        )
    image, model = open_image(args.image), load_model(args)
    maps = model.explain(image, args.text, args.method, args.resolution)
    if args.output:
        with extra():
            from nnclip.evaluate.figures.places import places_figure
            from nnclip.evaluate.figures.style import save_as
        title = f"{Path(shown(args.image)).name}: {args.method}"
        save_as(places_figure(model.view(image), maps, args.text, title), args.output)
    places = [_highest(each) for each in maps]
    if args.json:
        found = [
            {"text": text, "left": left, "top": top, "map": np.round(each, 6).tolist()}
            for text, (left, top), each in zip(args.text, places, maps, strict=True)
        ]
        told = {"image": to_name(args.image), "method": args.method, "texts": found}
        print(json.dumps(told, ensure_ascii=False))
        return 0
    print(shown(args.image))
    width = max(map(len, args.text))
    for text, (left, top) in zip(args.text, places, strict=True):
        print(f"  {text:<{width}}  {left:4.0%} from the left, {top:4.0%} from the top")
    return 0


def _highest(map_GG: np.ndarray) -> tuple[float, float]:
    """The middle of a map's highest place, as fractions from the left and from the top."""
    row, column = divmod(int(map_GG.argmax()), map_GG.shape[1])
    return (column + 0.5) / map_GG.shape[1], (row + 0.5) / map_GG.shape[0]
