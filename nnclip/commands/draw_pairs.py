"""`nnclip draw-pairs`: draw captioned images to train and to measure with."""

import argparse
import os
from pathlib import Path

from tqdm import tqdm

from nnclip.drawing import ALL_LANGUAGES, SPLITS
from nnclip.drawing.contents import MIXTURE, USUAL, Recipe
from nnclip.drawing.writer import FORMATS, TABLE, Order, write_shards, write_table

HELP = "draw captioned images of emoji and shapes, in fourteen languages"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `nnclip draw-pairs`."""
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="images (1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="other S, other images")
    parser.add_argument("--start", type=int, default=0, metavar="I", help="index of the first")
    parser.add_argument(
        "--split", choices=SPLITS, default="train", help="what is held out is never in `train`"
    )
    parser.add_argument(
        "--kinds",
        type=_shares,
        default=MIXTURE,
        metavar="KIND=SHARE,...",
        help=f"what `train` is mixed from ({','.join(f'{k}={v}' for k, v in MIXTURE.items())})",
    )
    parser.add_argument(
        "--alike",
        type=float,
        default=USUAL.alike,
        metavar="SHARE",
        help="of `train`: eights of images that differ in little (%(default)s)",
    )
    parser.add_argument(
        "--loose",
        type=float,
        default=USUAL.loose,
        metavar="SHARE",
        help="of `train`: things and people as others render them, some under Unicode's bare name "
        "(%(default)s)",
    )
    parser.add_argument("--size", type=int, default=224, metavar="PX", help="pixels (224)")
    parser.add_argument("--format", choices=FORMATS, default="jpg", help="of the files (jpg)")
    parser.add_argument(
        "--languages",
        default=",".join(ALL_LANGUAGES),
        metavar="CODES",
        help="comma-separated; one named twice is seen twice as often (default: %(default)s)",
    )
    parser.add_argument(
        "--captions",
        type=int,
        default=1,
        metavar="N",
        help="captions an image (1), each in some language; 0: one in each language",
    )
    parser.add_argument(
        "--shards", action="store_true", help=f"WebDataset shards instead of files and {TABLE}"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N",
        help="processes that draw (default: one a core)",
    )  # fmt: skip


def _shares(text: str) -> dict[str, float]:
    pairs = [part.strip().partition("=") for part in text.split(",")]
    try:
        return {kind: float(share or 1) for kind, _, share in pairs}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected KIND=SHARE,... ({error})") from error


def run(args: argparse.Namespace) -> int:
    """Draw; prints where the table or the shards are."""
    order = Order(
        folder=args.out,
        count=args.count,
        seed=args.seed,
        split=args.split,
        size=args.size,
        format=args.format,
        languages=tuple(code for code in args.languages.split(",") if code),
        captions=args.captions,
        start=args.start,
        recipe=Recipe(args.kinds, args.alike, args.loose),
    )
    write = write_shards if args.shards else write_table
    with tqdm(total=args.count, unit="image", disable=None) as bar:
        for done in write(order, max(args.workers, 1)):
            bar.update(done)
    print(args.out if args.shards else args.out / TABLE)
    return 0
