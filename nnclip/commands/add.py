"""`nnclip add`: more images for a collection."""

import argparse

from nnclip.commands.options import (
    add_exclude,
    add_model_arguments,
    add_workers,
    excluded,
    load_model,
)
from nnclip.commands.update import report
from nnclip.search import changes
from nnclip.search.store import open_store

HELP = "add images to a collection; they can be found at once, nothing is rebuilt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("collection", metavar="EMB", help="folder, or postgresql://...")
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="as for embed")
    add_exclude(parser)
    add_workers(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Add."""
    store = open_store(args.collection)
    model = load_model(args, store.manifest.model or None)
    done = changes.add(store, model, args.sources, args.workers, exclude=excluded(args))
    report(done, args)
    return 0
