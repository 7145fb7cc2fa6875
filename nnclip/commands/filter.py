"""`nnclip filter`: the pairs of a data set that fit well enough, as train.py reads them."""

import argparse
import json
from pathlib import Path

from nnclip.commands.options import load_model
from nnclip.commands.score import (
    add_scoring,
    check_scoring,
    check_table,
    draw_histogram,
    flagged,
    scored,
    summary,
    tell_unreadable,
)
from nnclip.errors import ConfigError
from nnclip.files import shown
from nnclip.preflight import check_file, check_folder
from nnclip.scores.choosing import FLAGS, Rule, chosen, top_of
from nnclip.scores.output import write_kept
from nnclip.scores.report import write_report
from nnclip.scores.scoring import judges_alone
from nnclip.scores.table import MEASURES, NO_PROBABILITY, WRITERS, read_scores, write_rows

HELP = "keep the pairs of images and captions that fit well enough, for training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument(
        "pairs", help="a table of nnclip score; or pairs as train.py takes them, scored first"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help=f"a table ({', '.join(WRITERS)}), or a folder for tar shards",
    )
    kept = parser.add_mutually_exclusive_group(required=True)
    kept.add_argument("--min", type=float, metavar="SCORE", help="keep pairs from this score on")
    kept.add_argument("--top", metavar="N", help="keep the best: 30%%, or a number of pairs")
    parser.add_argument("--by", choices=MEASURES, default="cosine", help="(%(default)s)")
    parser.add_argument(
        "--drop",
        action="append",
        choices=FLAGS,
        default=[],
        help="leave out near-duplicates, or images that show writing alone; repeat it for both",
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE.html", help="the best and the worst to look at"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    add_scoring(parser)


def run(args: argparse.Namespace) -> int:
    """Score if need be, choose, write; the first process does it."""
    rule = Rule(args.by, args.min, top_of(args.top) if args.top else None, tuple(args.drop))
    _check(args)
    found = read_scores(Path(args.pairs))
    beside = args.output.with_name(f"{args.output.stem or args.output.name}.scores.csv")
    if found is None:
        check_table(beside)
        if args.by == "probability" and not judges_alone(load_model(args).scorer):
            raise ConfigError(NO_PROBABILITY)
        found = scored(args, beside)
        if found is None:
            return 0
        write_rows(beside, list(found.rows()))
        if not args.json:
            print(f"scores of all pairs: {shown(beside)}")
    kept, least = chosen(found, rule)
    images = write_kept(args.output, found, kept)
    draw_histogram(args, found, least if args.by == "cosine" else None)
    if args.report:
        write_report(args.report, f"{Path(args.pairs).name}: {args.by}", found, args.by, kept)
    count, about = int(kept.sum()), summary(found)
    if args.json:
        told = {"kept": count, "pairs": len(found), "images": images, "least": round(least, 6)}
        print(json.dumps({"output": str(args.output), **told, "by": args.by, **about}))
        return 0
    tell_unreadable(found)
    print(
        f"{count:,} of {len(found):,} pairs ({count / len(found):.1%}) in {shown(args.output)}, "
        f"from {args.by} {least:.3f} on; {images:,} images"
    )
    print(flagged(about) + "".join(f"; {name} left out" for name in args.drop))
    return 0


def _check(args: argparse.Namespace) -> None:
    """What can be found out without the model."""
    check_scoring(args)
    if args.output.exists() and Path(args.pairs).exists() and args.output.samefile(args.pairs):
        raise ConfigError(f"-o {shown(args.output)}: found PAIRS itself, expected another name")
    if args.output.suffix.lower() in WRITERS:
        check_table(args.output)
    elif args.output.suffix:
        raise ConfigError(
            f"-o {shown(args.output)}: found {args.output.suffix}, expected one of "
            f"{', '.join(WRITERS)}, or a folder for tar shards"
        )
    else:
        check_folder(args.output, "-o")
        if there := next(args.output.glob("*.tar"), None):
            raise ConfigError(
                f"-o {shown(args.output)}: found {shown(there.name)} in it, expected no shards; "
                "remove them, or choose another folder"
            )
    if args.report:
        if args.report.suffix.lower() not in (".html", ".htm"):
            raise ConfigError(
                f"--report {shown(args.report)}: found {args.report.suffix or 'no suffix'}, "
                "expected .html"
            )
        check_file(args.report, "--report")
