"""`nnclip segment`: which text each pixel of an image shows, roughly."""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from nnclip.commands.options import add_model_arguments, load_model
from nnclip.errors import ConfigError, DataError
from nnclip.explain import DEFAULT, Box, boxes
from nnclip.explain.dense import DENSE
from nnclip.explain.regions import COLOURS, MOST, mask_of
from nnclip.extras import extra
from nnclip.files import shown, to_name
from nnclip.image import open_image
from nnclip.preflight import check_file

HELP = "cut an image into regions, one text each, roughly; boxes around them"
FIGURES = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("image", metavar="IMAGE", help="an image file")
    parser.add_argument(
        "-t",
        "--text",
        action="append",
        required=True,
        help="what is there, the background too; repeat it: each pixel gets the one that fits best",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="MASK.png",
        help="write the number of each pixel's text",
    )
    parser.add_argument(
        "--draw", type=Path, metavar="FILE", help=f"draw regions over it: {', '.join(FIGURES)}"
    )
    parser.add_argument("--boxes", action="store_true", help="a box around each connected region")
    parser.add_argument("--method", choices=tuple(DENSE), default=DEFAULT, help="(%(default)s)")
    parser.add_argument(
        "--resolution", type=int, metavar="PIXELS", help="along a side: more gives finer places"
    )
    parser.add_argument(
        "--refine",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="let borders follow those of colours (yes)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print how much of the image each text has, and where; write the mask."""
    _check(args)
    image, model = open_image(args.image), load_model(args)
    labels_HW = model.segment(image, args.text, args.method, args.resolution, args.refine)
    found = boxes(labels_HW) if args.boxes else []
    if args.output:
        _write_mask(args.output, labels_HW)
    if args.draw:
        with extra():
            from nnclip.evaluate.figures.places import regions_figure
            from nnclip.evaluate.figures.style import save_as
        title = f"{args.method}, rough"
        save_as(regions_figure(image, labels_HW, args.text, COLOURS, found, title), args.draw)
    shares = np.bincount(labels_HW.ravel(), minlength=len(args.text)) / labels_HW.size
    if args.json:
        print(json.dumps(_told(args, image, shares, found), ensure_ascii=False))
        return 0
    print(f"{shown(args.image)}: {image.width} x {image.height}, rough")
    width = max(map(len, args.text))
    for text, share in zip(args.text, shares, strict=True):
        print(f"  {text:<{width}}  {share:4.0%}")
    for box in found:
        edges = f"{box.left},{box.top} to {box.right},{box.bottom}"
        print(f"  {args.text[box.text]:<{width}}  {box.share:4.0%}  {edges}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """What can be found out without the model."""
    if not 2 <= len(args.text) <= MOST:
        raise ConfigError(
            f"-t: found {len(args.text)} text{'s' * (len(args.text) > 1)}, expected 2 to {MOST}: "
            'each pixel gets the one that fits best; add what else is there, as in -t "a dog" '
            "-t grass"
        )
    for flag, path, suffixes in (("-o", args.output, (".png",)), ("--draw", args.draw, FIGURES)):
        if path is None:
            continue
        if path.suffix.lower() not in suffixes:
            raise ConfigError(
                f"{flag} {shown(path)}: found {path.suffix or 'no suffix'}, expected "
                f"{' or '.join(suffixes)}"
            )
        check_file(path, flag)


def _write_mask(path: Path, labels_HW: np.ndarray) -> None:
    """A PNG with a palette: pixels are numbers of texts, from 0."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mask_of(labels_HW).save(path)
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be written ({error.strerror or error})") from error


def _told(
    args: argparse.Namespace, image: Image.Image, shares: np.ndarray, found: list[Box]
) -> dict[str, object]:
    told: dict[str, object] = {
        "image": to_name(args.image),
        "width": image.width,
        "height": image.height,
        "method": args.method,
        "texts": [
            {"text": text, "share": round(float(share), 6)}
            for text, share in zip(args.text, shares, strict=True)
        ],
    }
    if args.boxes:
        told["boxes"] = [
            {**box._asdict(), "text": args.text[box.text], "share": round(box.share, 6)}
            for box in found
        ]
    return told
