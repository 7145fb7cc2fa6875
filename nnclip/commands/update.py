"""`nnclip update`: a collection follows its folders."""

import argparse
import json
from dataclasses import asdict

from nnclip.commands.options import add_model_arguments, add_workers, load_model
from nnclip.search import changes
from nnclip.search.changes import Changes
from nnclip.search.store import open_store

HELP = "look through a collection's sources: embed what is new or changed, remove what is gone"
LISTED = 20  # pictures that cannot be read, by name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("collection", metavar="EMB", help="folder, or postgresql://...")
    add_workers(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Update."""
    store = open_store(args.collection)
    model = load_model(args, store.manifest.model or None)
    report(changes.update(store, model, args.workers), args)
    return 0


def report(done: Changes, args: argparse.Namespace) -> None:
    """Print what happened."""
    if args.json:
        print(json.dumps(asdict(done), ensure_ascii=False))
    else:
        for image, reason in done.failed[:LISTED]:
            print(f"left out: {reason if image in reason else f'{image}: {reason}'}")
        print(
            f"{done.added:,} added, {done.changed:,} embedded again, {done.removed:,} removed, "
            f"{done.unchanged:,} unchanged, {len(done.failed):,} could not be read"
        )
