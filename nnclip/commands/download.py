"""`python -m nnclip download`: fetch published weights into the cache."""

import argparse
from pathlib import Path

from nnclip.weights.catalogue import CATALOGUE
from nnclip.weights.download import fetch

HELP = "fetch published weights; prints the path of each .h5; without NAME lists what there is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `nnclip download`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as ViT-B/32, or an address")
    parser.add_argument(
        "--origin", choices=("nnabla", "openai"), help="whose file (OpenAI's are converted)"
    )
    parser.add_argument(
        "--cache", type=Path, help="folder to keep them in (default: NNCLIP_CACHE, ~/.cache/nnclip)"
    )


def run(args: argparse.Namespace) -> int:
    """Print one path a name, or the catalogue."""
    for name in args.names:
        print(fetch(name, args.cache, origin=args.origin))
    if not args.names:
        for name, places in CATALOGUE.items():
            print(f"{name}\t{' '.join(place.origin for place in places)}")
    return 0
