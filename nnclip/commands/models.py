"""`nnclip models`: what can be loaded by a name, and what is on this machine."""

import argparse
import dataclasses
import json

from nnclip.clip import available_models
from nnclip.weights.known import KnownModel

HELP = "list the models that have a name, with size, languages and licence; * is on this machine"
HEAD = ("", "name", "parameters", "pixels", "tokens", "languages", "licence")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("--here", action="store_true", help="only those on this machine")
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects")


def run(args: argparse.Namespace) -> int:
    """Print a row for each model."""
    models = [model for model in available_models() if model.path or not args.here]
    if args.json:
        rows = [dataclasses.asdict(m) | {"path": m.path and str(m.path)} for m in models]
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    cells = [HEAD, *map(_row, models)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    for row in cells:
        print("  ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True)).rstrip())
    return 0


def _row(model: KnownModel) -> tuple[str, ...]:
    size = "?" if model.parameters is None else f"{model.parameters:,.1f} M"
    told = (model.resolution, model.context, model.languages, model.licence)
    return ("*" if model.path else "", model.name, size, *(str(t or "?") for t in told))
