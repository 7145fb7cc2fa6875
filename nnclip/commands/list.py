"""`nnclip list`: the images of a collection."""

import argparse
import json
import sys

from nnclip.commands.filters import (
    add_filters,
    add_names,
    facts_in,
    filters_of,
    from_here,
    print_paths,
    say,
    say_silent,
)
from nnclip.commands.update import left_out
from nnclip.errors import ConfigError
from nnclip.search.filters import read_filters
from nnclip.search.passing import passing
from nnclip.search.store import FolderStore, open_store

HELP = "list the images of a collection, all or some"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("collection", metavar="EMB", help="folder, or postgresql://...")
    parser.add_argument(
        "--failed", action="store_true", help="those that could not be read, with the reasons"
    )
    add_filters(parser)
    add_names(parser)


def run(args: argparse.Namespace) -> int:
    """Print them in the order in which they were embedded; 1 if there is none."""
    where = filters_of(args)
    store = open_store(args.collection)
    if args.failed:
        return _failed(args, store)
    filters = read_filters(where)
    fields = list(dict.fromkeys(name for it in filters for name in it.fields))
    rows, columns = store.columns(fields)
    rows = rows[passing(filters, columns, len(rows))]
    say_silent({name: columns[name].null_count for name in fields}, len(store))
    if args.paths or args.null:
        print_paths((record["image"] for record in store.records(rows.tolist())), args.null)
        return 0 if len(rows) else 1
    for record in store.records(rows.tolist()):
        facts = facts_in(record)
        if args.json:
            print(json.dumps({"image": record["image"], **facts}, ensure_ascii=False))
            continue
        size = f"{facts['width']}x{facts['height']}" if "width" in facts else "-"
        taken = facts.get("taken", "-").replace("T", " ")
        print(f"{taken:<19}  {size:>11}  {from_here(record['image'])}")
    if waiting := getattr(store, "waiting", 0):
        say(f"{waiting:,} of {store.manifest.items:,} images are not embedded yet")
    return 0 if len(rows) else 1


def _failed(args: argparse.Namespace, store: FolderStore) -> int:
    if not isinstance(store, FolderStore):
        raise ConfigError("--failed: a database keeps no failures, expected a folder")
    failures = store.failures()
    if args.paths or args.null:
        print_paths((image for image, _ in failures), args.null)
    for image, reason in () if args.paths or args.null else failures:
        told = json.dumps({"image": image, "error": reason}, ensure_ascii=False)
        print(told if args.json else left_out(image, reason), file=sys.stdout)
    return 0 if failures else 1
