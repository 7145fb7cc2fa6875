"""`nnclip merge`: adapters of --lora become part of their model."""

import argparse
import json
from pathlib import Path

from nnclip.preflight import check_file, check_readable
from nnclip.weights.finding import find_model
from nnclip.weights.lora import merge
from nnclip.weights.model import load_model, save_model

HELP = "add the adapters that train.py --lora has trained to their model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("model", help="an .h5 or a published name: what they were trained on")
    parser.add_argument("adapters", type=Path, help="model-lora.h5 of the run")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .h5 to write")
    parser.add_argument("--half", action="store_true", help="store float16")
    parser.add_argument("--overwrite", action="store_true", help="replace --output")
    parser.add_argument("--json", action="store_true", help="print one JSON line")


def run(args: argparse.Namespace) -> int:
    """Merge, write, say where."""
    check_file(args.output, "--output", args.overwrite)
    check_readable(args.adapters, "ADAPTERS")
    model = merge(load_model(find_model(args.model)), args.adapters)
    save_model(args.output, model, half=args.half)
    about = {"path": str(args.output), "model": args.model, "adapters": str(args.adapters)}
    print(json.dumps(about) if args.json else "{path}: {model} with {adapters}".format(**about))
    return 0
