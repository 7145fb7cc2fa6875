"""`nnclip update`: a collection follows its folders."""

import argparse
import json
import sys
from dataclasses import asdict

from nnclip.commands.options import add_model_arguments, add_workers, load_model
from nnclip.files import shown
from nnclip.image import NotRead
from nnclip.search import changes
from nnclip.search.loss import Loss
from nnclip.search.moved import add_facts
from nnclip.search.outcome import Changes
from nnclip.search.store import open_store

HELP = "look through a collection's sources: embed what is new or changed, remove what is gone"
LISTED = 20  # images that cannot be read, by name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("collection", metavar="EMB", help="folder, or postgresql://...")
    add_workers(parser)
    parser.add_argument(
        "--yes",
        action="store_true",
        help="remove images that are gone without asking, however many they are",
    )
    parser.add_argument(
        "--facts",
        action="store_true",
        help="read size, date, camera and place of images whose records lack them",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Update; 1 if images that are gone were kept."""
    store = open_store(args.collection)
    model = load_model(args, store.manifest.model or None)
    done = changes.update(store, model, args.workers, lambda loss: _permit(loss, args.yes))
    told = add_facts(store) if args.facts else 0
    report(done, args)
    if told and not args.json:
        print(f"{told:,} records tell size, date, camera and place now")
    return 1 if done.kept else 0


def _permit(loss: Loss, yes: bool) -> bool:
    """Whether images are to be removed: asked where somebody can answer."""
    print("\n".join(loss.lines()), file=sys.stderr)
    if yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        print("They are kept. If they are to be removed: update --yes", file=sys.stderr)
        return False
    print("Remove them from the collection? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def report(done: Changes, args: argparse.Namespace) -> None:
    """Print what happened."""
    if args.json:
        print(json.dumps(asdict(done), ensure_ascii=False))
    else:
        for image, reason in done.failed[:LISTED]:
            print(left_out(image, reason))
        print(
            f"{done.added:,} added, {done.moved:,} moved, {done.changed:,} embedded again, "
            f"{done.removed:,} removed, "
            f"{done.unchanged:,} unchanged, {len(done.failed):,} could not be read"
            + (f", {done.kept:,} gone but kept" if done.kept else "")
        )
        if done.not_read:
            not_read = NotRead()
            not_read.update(done.not_read)
            print(not_read.told)


def left_out(image: str, reason: str) -> str:
    """The line about an image that cannot be read; its reason may name it."""
    image, reason = shown(image), shown(reason)
    return f"left out: {reason if image in reason else f'{image}: {reason}'}"
