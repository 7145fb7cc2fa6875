"""`nnclip remove`: images leave a collection."""

import argparse

from nnclip.commands.update import report
from nnclip.search import changes
from nnclip.search.store import open_store

HELP = "remove images from a collection; their files stay"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("collection", metavar="EMB", help="folder, or postgresql://...")
    parser.add_argument(
        "names", nargs="+", metavar="PICTURE", help="files, folders or .tar files with all in them"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line")


def run(args: argparse.Namespace) -> int:
    """Remove."""
    report(changes.remove(open_store(args.collection), args.names), args)
    return 0
