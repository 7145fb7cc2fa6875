"""`nnclip fetch-pairs`: a list of captions and addresses becomes a table of images."""

import argparse
import json
from pathlib import Path

from tqdm import tqdm

from nnclip.files import shown
from nnclip.preflight import check_folder, check_readable
from nnclip.training.data.fetch import FAILURES, TABLE, FetchOrder, fetch_pairs, survey

HELP = "fetch the images of a list of captions and addresses (Conceptual Captions and such)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `nnclip fetch-pairs`."""
    parser.add_argument("urls", type=Path, help="a table of captions and addresses; parquet, too")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to; call again to go on")
    parser.add_argument("--url-column", default="", metavar="NAME", help="name or number")
    parser.add_argument("--caption-column", default="", metavar="NAME", help="name or number")
    parser.add_argument("--separator", default="", help="one character, or tab")
    parser.add_argument(
        "--max-bad", type=int, default=1000, help="rows that are left out (%(default)s)"
    )
    parser.add_argument("--parquet", action="store_true", help="write pairs.parquet, too")
    parser.add_argument("--parallel", type=int, default=50, help="transfers at once (%(default)s)")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds (%(default)s)")
    parser.add_argument("--min-size", type=int, default=1, help="least pixels of a side")
    parser.add_argument("--retry", action="store_true", help="try what failed before, too")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be fetched, and ask for nothing"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line")


def run(args: argparse.Namespace) -> int:
    """Fetch; prints where the table is and what is in it."""
    check_folder(args.folder, "DIR")
    check_readable(args.urls, "URLS")
    order = FetchOrder(
        folder=args.folder,
        parallel=args.parallel,
        timeout=args.timeout,
        least_side=args.min_size,
        again=args.retry,
        url_column=args.url_column,
        caption_column=args.caption_column,
        separator=args.separator,
        max_bad=args.max_bad,
        parquet=args.parquet,
    )
    if args.dry_run:
        return _rehearse(args, order)
    kept = failed = 0
    with tqdm(unit="image", disable=None) as bar:
        for reason in fetch_pairs(args.urls, order):
            kept, failed = kept + (reason is None), failed + (reason is not None)
            bar.update()
            bar.set_postfix(failed=failed)
    if args.json:
        print(json.dumps({"path": str(args.folder / TABLE), "kept": kept, "failed": failed}))
    else:
        print(f"{args.folder / TABLE}: {kept} images, {failed} failed ({args.folder / FAILURES})")
    return 0


def _rehearse(args: argparse.Namespace, order: FetchOrder) -> int:
    """Say what is in the list, and what of it would be asked for."""
    found = survey(args.urls, order)
    asked = found.addresses - found.there - found.failed
    if args.json:
        about = {"addresses": found.addresses, "there": found.there, "failed": found.failed}
        print(json.dumps({"path": str(args.folder / TABLE), "asked": asked, **about}))
        return 0
    for url, caption in found.first:
        print(f"{shown(url)}\t{shown(caption)}")
    again = f", {found.failed:,} failed before (--retry)" if found.failed else ""
    print(
        f"dry run: would ask {asked:,} of {found.addresses:,} addresses; {found.there:,} images "
        f"are in {shown(args.folder)}{again}"
    )
    return 0
