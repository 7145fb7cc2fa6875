"""`nnclip average`: one model of several, weight by weight."""

import argparse
import json
from pathlib import Path

from nnclip.preflight import check_file
from nnclip.weights.average import average
from nnclip.weights.finding import find_model
from nnclip.weights.model import save_model

HELP = "average models that were fine-tuned from the same start (WiSE-FT, soups)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("models", nargs="+", metavar="MODEL", help="an .h5 or a published name")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .h5 to write")
    parser.add_argument(
        "--alpha",
        type=float,
        help="share of the second of two models, the start being the first (default: equal shares)",
    )
    parser.add_argument("--half", action="store_true", help="store float16")
    parser.add_argument("--overwrite", action="store_true", help="replace --output")
    parser.add_argument("--json", action="store_true", help="print one JSON line")


def run(args: argparse.Namespace) -> int:
    """Average, write, say what of."""
    check_file(args.output, "--output", args.overwrite)
    model = average([find_model(name) for name in args.models], args.alpha)
    save_model(args.output, model, half=args.half)
    if args.json:
        about = {"path": str(args.output), "models": args.models, "alpha": args.alpha}
        print(json.dumps(about))
    else:
        print(f"{args.output}: the average of {', '.join(args.models)}")
    return 0
