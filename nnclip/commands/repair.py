"""`nnclip repair`: makes damaged files of a collection again."""

import argparse
import json
from pathlib import Path

from nnclip.commands.options import add_model_arguments, add_workers, load_model
from nnclip.search.repair import repair

HELP = "check every file of a collection, and make again what is damaged"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("collection", metavar="EMB", help="folder")
    add_workers(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Repair, and print what was damaged."""
    folder = Path(args.collection)
    done = repair(folder, lambda name: load_model(args, name or None), args.workers)
    if args.json:
        print(json.dumps(done))
    else:
        print("\n".join(done) or f"{folder}: every file is as it was written")
    return 0
