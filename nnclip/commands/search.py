"""`nnclip search`: images found by words, or by an image."""

import argparse
import json
import os

from nnclip.commands.options import add_model_arguments, load_model
from nnclip.errors import ConfigError
from nnclip.files import shown, to_name
from nnclip.search import ImageSearch
from nnclip.search.query import K
from nnclip.search.store import open_store

HELP = "find the images of a collection that fit a text or an image"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("query", nargs="?", help="what the images should show")
    parser.add_argument("--image", metavar="FILE", help="find images like this one instead")
    parser.add_argument(
        "-i",
        "--index",
        "--store",
        default="EMB",
        metavar="EMB",
        help="the collection (%(default)s)",
    )
    parser.add_argument("-k", type=int, default=K, metavar="N", help="how many (%(default)s)")
    parser.add_argument("--exact", action="store_true", help="look at every image")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the images, best first; 1 if there is none."""
    if (args.query is None) == (args.image is None):
        raise ConfigError("expected either a query or --image FILE")
    store = open_store(args.index, args.exact)
    found = ImageSearch.over(store, load_model(args, store.manifest.model or None))
    if args.image is not None:
        hits = found.search_image(args.image, args.k)
    else:
        hits = found.search(args.query, args.k)
    if args.json:
        print(json.dumps(hits, ensure_ascii=False))
    else:
        for hit in hits:
            print(f"{hit['prob']:8.2%}  {hit['cosine']:6.3f}  {from_here(hit['image'])}")
    return 0 if hits else 1


def from_here(image: str) -> str:
    """An image's name as seen from here, safe to print."""
    here = to_name(os.getcwd()) + "/"
    return shown(image.removeprefix(here))
