"""`nnclip download`: fetch published weights into the cache."""

import argparse
from pathlib import Path

from nnclip.weights.catalogue import CATALOGUE, ORIGINS
from nnclip.weights.download import fetch
from nnclip.weights.reachable import ask_all

HELP = "fetch published weights; prints the path of each .h5; without NAME lists OpenAI's"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `nnclip download`."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="such as ViT-B/32; MODEL:TAG of open_clip; hf-hub:OWNER/NAME; or an address",
    )
    parser.add_argument(
        "--origin", choices=ORIGINS, help="ask this source alone (default: all in turn)"
    )
    parser.add_argument(
        "--cache", type=Path, help="folder to keep them in (default: NNCLIP_CACHE, ~/.cache/nnclip)"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="fetch nothing: ask every source whether it has the file; 1 if a name has none",
    )


def run(args: argparse.Namespace) -> int:
    """Print one path a name, the catalogue, or what each source answers."""
    if args.check:
        return _check(args.names or list(CATALOGUE), args.origin)
    for name in args.names:
        print(fetch(name, args.cache, origin=args.origin, newest=True))
    if not args.names:
        for name, places in CATALOGUE.items():
            print(f"{name}\t{' '.join(place.origin for place in places)}")
    return 0


def _check(names: list[str], origin: str | None) -> int:
    """Print a row for each source; 1 if a name has none that answers."""
    if origin is not None:
        known = {name for name in CATALOGUE if any(s.origin == origin for s in CATALOGUE[name])}
        names = [name for name in names if name not in CATALOGUE or name in known]
    answers = ask_all(names, origin)
    rows = [("name", "source", "", "answer", "address")]
    rows += [
        (a.name, a.source.origin, "ok" if a.alive else "-", a.said, a.source.url) for a in answers
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=False)), row[-1])
    return int({a.name for a in answers if a.alive} != set(names))
