"""`nnclip index`: makes searching a large collection fast."""

import argparse
import json
from dataclasses import asdict

import numpy as np

from nnclip.commands.options import add_model_arguments, load_model
from nnclip.search.index import KINDS
from nnclip.search.rows import unit_rows
from nnclip.search.store import open_store
from nnclip.text.prompts import CIFAR100_CLASSES, IMAGENET_TEMPLATES, load_class_names

HELP = "build what makes searching a large collection fast, and measure how much it finds"
ASKED = 512  # texts that recall is measured with


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("collection", metavar="EMB", help="folder, or postgresql://...")
    parser.add_argument(
        "--kind", choices=KINDS, default="auto", help="auto: exact up to 200,000 images, then ivf"
    )
    parser.add_argument(
        "--recall", type=float, default=0.95, help="share of the 10 nearest to find (%(default)s)"
    )
    parser.add_argument(
        "--queries", metavar="FILE", help="texts such as people ask, one per line; default: bundled"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Build the index; 1 if the recall is not reached."""
    store = open_store(args.collection)
    card = store.build_index(args.kind, args.recall, lambda: _texts(args, store.manifest))
    if args.json:
        print(json.dumps(asdict(card)))
    elif card.kind == "exact":
        print(f"{card.rows:,} images: searched exactly, without an index")
    else:
        reached = ", ".join(f"{value:.3f} with {kind}" for kind, value in card.recall.items())
        print(
            f"{card.rows:,} images: {card.kind}, setting {card.setting}, built in "
            f"{card.seconds:.0f} s; recall@10 {reached} as queries (asked for: {card.wanted:g})"
        )
    return 0 if min(card.recall.values(), default=1.0) >= card.wanted else 1


def _texts(args: argparse.Namespace, manifest) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Texts that people may ask, embedded."""
    if args.queries:
        texts = list(load_class_names(args.queries))
    else:
        names, templates = CIFAR100_CLASSES, IMAGENET_TEMPLATES
        rng = np.random.default_rng(3)
        texts = [
            templates[rng.integers(len(templates))].format(names[number % len(names)])
            for number in range(ASKED)
        ]
    model = load_model(args, manifest.model or None)
    manifest.check_model(model)
    return unit_rows(model.encode_text(model.tokenize(texts, truncate=True)))
