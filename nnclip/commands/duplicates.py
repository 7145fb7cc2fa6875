"""`nnclip duplicates`: near-duplicates in a collection."""

import argparse
import json

from nnclip.commands.filters import from_here
from nnclip.search.duplicates import duplicate_groups
from nnclip.search.store import open_store

HELP = "list near-duplicates in a collection"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("collection", metavar="EMB", help="folder, or postgresql://...")
    parser.add_argument(
        "--threshold", type=float, default=0.98, help="cosine of two duplicates (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list of groups")


def run(args: argparse.Namespace) -> int:
    """Print the groups, the closest first."""
    store = open_store(args.collection)
    blocks, dead = store.vectors()
    found = [
        ([record["image"] for record in store.records(rows)], cosine)
        for rows, cosine in duplicate_groups(blocks, dead, args.threshold)
    ]
    if args.json:
        groups = [{"images": images, "cosine": cosine} for images, cosine in found]
        print(json.dumps(groups, ensure_ascii=False))
        return 0
    for images, cosine in found:
        print(f"{cosine:.4f}  {'  '.join(map(from_here, images))}")
    print(f"{len(found):,} groups, {sum(len(images) for images, _ in found):,} images")
    return 0
