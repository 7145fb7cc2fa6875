"""`nnclip score`: how well the two of each pair fit."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from nnclip.commands.options import (
    add_decoding,
    add_model_arguments,
    add_workers,
    decoding_of,
    load_model,
    prepare_gpu,
)
from nnclip.errors import ConfigError
from nnclip.evaluate.ranks import join
from nnclip.extras import extra
from nnclip.files import shown
from nnclip.preflight import check_file, check_packages
from nnclip.scores.scoring import Task, score
from nnclip.scores.table import WRITERS, Scores, write_rows
from nnclip.search.embed import BATCH
from nnclip.sources.check import check_images
from nnclip.training.data.pairs import by_image
from nnclip.training.data.readers import read_pairs

HELP = "score how well images and their captions fit (under mpirun: by several processes)"
FIGURES = (".png", ".svg", ".pdf")
NEAR = 0.98
LISTED = 5  # images that cannot be read, by name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("pairs", help="as train.py takes them: table, COCO .json, folder or shards")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help=f"{', '.join(WRITERS)}"
    )
    add_scoring(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON line")


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that say how pairs are read and scored."""
    parser.add_argument(
        "--histogram", type=Path, metavar="FILE", help=f"draw it: {', '.join(FIGURES)}"
    )
    parser.add_argument(
        "--near",
        type=float,
        default=NEAR,
        metavar="COSINE",
        help="of two near-duplicates; 0 to look for none: it takes the square of the images "
        "(%(default)s)",
    )
    parser.add_argument("--batch", type=int, default=BATCH, metavar="N", help="(%(default)s)")
    parser.add_argument("--image-root", default="", help="folder that image paths begin in")
    parser.add_argument("--csv-img-key", default="filepath", help="column of image paths")
    parser.add_argument("--csv-caption-key", default="title", help="column of captions")
    parser.add_argument("--separator", default="", help="of a table: one character, or tab")
    parser.add_argument("--max-bad", type=int, default=1000, help="rows that are left out")
    add_workers(parser)
    add_decoding(parser)
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Score all pairs; the first process writes and prints."""
    check_scoring(args)
    check_table(args.output)
    found = scored(args, args.output)
    if found is None:
        return 0
    write_rows(args.output, list(found.rows()))
    draw_histogram(args, found)
    about = summary(found)
    if args.json:
        print(json.dumps({"pairs": len(found), "output": str(args.output), **about}))
        return 0
    tell_unreadable(found)
    print(
        f"{len(found):,} pairs in {shown(args.output)}: cosine {about['median']:.3f} in the "
        f"middle, 5 % below {about['p5']:.3f}, 5 % above {about['p95']:.3f}"
    )
    print(flagged(about))
    return 0


def tell_unreadable(found: Scores) -> None:
    """Print why images cannot be read: the first, and how many more."""
    reasons = list(dict.fromkeys(filter(None, found.errors)))
    for reason in reasons[:LISTED]:
        print(f"left out: {shown(reason)}")
    if len(reasons) > LISTED:
        print(f"left out: {len(reasons) - LISTED:,} more, see the column `error`")


def check_scoring(args: argparse.Namespace) -> None:
    """What can be found out without the model."""
    if args.batch < 1 or args.workers < 0 or not 0 <= args.near <= 1:
        raise ConfigError(
            f"--batch {args.batch} --workers {args.workers} --near {args.near:g}: expected at "
            "least 1, at least 0, and 0 to 1"
        )
    if args.histogram is not None:
        if args.histogram.suffix.lower() not in FIGURES:
            raise ConfigError(
                f"--histogram {shown(args.histogram)}: found "
                f"{args.histogram.suffix or 'no suffix'}, expected one of {', '.join(FIGURES)}"
            )
        check_file(args.histogram, "--histogram")
        check_packages("matplotlib")


def check_table(path: Path) -> None:
    """ConfigError unless a table can be written there."""
    if path.suffix.lower() not in WRITERS:
        raise ConfigError(
            f"-o {shown(path)}: found {path.suffix or 'no suffix'}, expected one of "
            f"{', '.join(WRITERS)}"
        )
    if path.suffix.lower() == ".parquet":
        check_packages("pyarrow")
    check_file(path, "-o")


def scored(args: argparse.Namespace, beside: Path) -> Scores | None:
    """The scores of the pairs that the flags name, on rank 0; parts are kept beside a file."""
    prepare_gpu(args)
    ranks = join()
    try:
        keys = args.image_root or None, args.csv_img_key, args.csv_caption_key
        table = by_image(
            read_pairs(args.pairs, *keys, separator=args.separator, max_bad=args.max_bad)
        )
        check_images(table, f"PAIRS {args.pairs}", args.max_bad, table.dropped)
        model = load_model(args)
        task = Task(table, model, decoding_of(args), args.workers, args.batch, args.near)
        return score(task, Path(f"{beside}.parts"), ranks)
    except KeyboardInterrupt:
        print("stopped: what is scored is kept; the same command goes on", file=sys.stderr)
        raise
    except BaseException as error:
        if not ranks.agreed and ranks.size > 1:  # the others may know nothing of it, and wait
            print(f"nnclip, process {ranks.rank}: {error!r}", file=sys.stderr, flush=True)
            ranks.abort()
        raise


def draw_histogram(args: argparse.Namespace, found: Scores, least: float | None = None) -> None:
    """Draw what --histogram asks for, if it does."""
    if args.histogram is None:
        return
    with extra():
        from nnclip.evaluate.figures.scores import scores_figure
        from nnclip.evaluate.figures.style import save_as
    cosines = found.cosines[~np.isnan(found.cosines)]
    title = f"{Path(args.pairs).name}: {len(cosines):,} pairs"
    save_as(scores_figure(cosines, title, least), args.histogram)


def summary(found: Scores) -> dict[str, float]:
    """Numbers of a table of scores."""
    cosines = found.cosines[~np.isnan(found.cosines)]
    low, middle, high = (round(float(v), 4) for v in np.percentile(cosines, (5, 50, 95)))
    return {
        "p5": low,
        "median": middle,
        "p95": high,
        "near_duplicates": sum(map(bool, found.near)),
        "text_only": sum(found.text_only),
        "unreadable": sum(map(bool, found.errors)),
        "cut": found.cut,
    }


def flagged(about: dict[str, float]) -> str:
    """A line about what is flagged."""
    cut = f"; {about['cut']:,} captions were cut, which are too long" if about["cut"] else ""
    return (
        f"flagged: {about['near_duplicates']:,} near-duplicates, {about['text_only']:,} that show "
        f"writing alone (rough), {about['unreadable']:,} that cannot be read{cut}"
    )
