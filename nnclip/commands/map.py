"""`nnclip map`: a collection on a plane, as a page to look at."""

import argparse
from pathlib import Path

import numpy as np

from nnclip.commands.cluster import add_clustering, divided
from nnclip.errors import ConfigError
from nnclip.files import shown
from nnclip.preflight import check_file
from nnclip.search.layout import LAYOUTS, has_tsne, layout
from nnclip.search.map_page import MapData, write_map
from nnclip.search.rows import gather

HELP = "draw a collection as a map: one HTML page to zoom into, with groups named by words"
MOST = 2000  # images that are shown: 5 MB of thumbnails
SEED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    add_clustering(parser)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE.html", help="the page"
    )
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        help="tsne keeps neighbours together, pca is the two main directions; default: tsne, where "
        "scikit-learn is installed",
    )
    parser.add_argument(
        "--most", type=int, default=MOST, metavar="N", help="images that are shown (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    if args.output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(
            f"-o {shown(args.output)}: found {args.output.suffix or 'no suffix'}, expected .html"
        )
    if args.most < 1:
        raise ConfigError(f"--most {args.most}: expected at least 1")
    check_file(args.output, "-o")
    way = args.layout or ("tsne" if has_tsne() else "pca")
    named = divided(args)
    found, every = named.found, len(named.found.rows)
    chosen = np.arange(every)
    if every > args.most:
        rng = np.random.default_rng(SEED)
        chosen = np.sort(rng.choice(every, args.most, replace=False))
    rows = found.rows[chosen]
    places_N2 = layout(gather(named.store.vectors()[0], rows), way)
    data = MapData(
        title=Path(str(args.collection)).name or "map",
        records=named.store.records(rows),
        places=places_N2,
        clusters=found.of[chosen],
        names=named.names,
        sizes=found.sizes.tolist(),
    )
    unread = write_map(args.output, data)
    print(f"{shown(args.output)}: {len(rows):,} of {every:,} images, {way}")
    if unread:
        print(f"{unread:,} could not be read, and are grey")
    return 0
