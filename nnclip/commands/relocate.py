"""`nnclip relocate`: a collection follows its images to another folder."""

import argparse
import json
import os
from dataclasses import asdict

from nnclip.files import shown, to_name
from nnclip.search.moved import relocate
from nnclip.search.store import open_store

HELP = "say that images moved, or are mounted elsewhere; nothing is computed again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("collection", metavar="EMB", help="folder, or postgresql://...")
    parser.add_argument("old", metavar="OLD", help="folder, .tar file or image, as it was")
    parser.add_argument("new", metavar="NEW", help="where it is now")
    parser.add_argument("--json", action="store_true", help="print one JSON line")


def run(args: argparse.Namespace) -> int:
    """Relocate; 1 if files are missing at the new place."""
    old, new = (to_name(os.path.abspath(path)) for path in (args.old, args.new))
    done = relocate(open_store(args.collection), old, new)
    if args.json:
        print(json.dumps(asdict(done)))
    else:
        print(f"{done.images:,} images are below {shown(new)} now, 0 were computed again")
        if done.twice:
            print(f"{done.twice:,} were there already; each is there once")
        if done.missing:
            print(f"{done.missing:,} files are not there: `nnclip update` removes them")
    return 1 if done.missing else 0
