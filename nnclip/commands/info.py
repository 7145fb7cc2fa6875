"""`nnclip info`: what a collection holds."""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

from nnclip.commands.update import LISTED, left_out
from nnclip.files import shown
from nnclip.image import NotRead
from nnclip.search.card import Card, card_of
from nnclip.search.store import open_store

HELP = "tell what a collection holds: sources, counts, failures, model, index, size"
CAMERAS = 5  # that are named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("collection", metavar="EMB", help="folder, or postgresql://...")
    parser.add_argument("--json", action="store_true", help="print one JSON line")


def run(args: argparse.Namespace) -> int:
    """Print the card."""
    card = card_of(open_store(args.collection))
    if args.json:
        print(json.dumps(asdict(card), ensure_ascii=False))
    else:
        for name, said in _lines(card):
            print(f"{name:<10}{shown(said)}")
    return 0


def _lines(card: Card) -> Iterator[tuple[str, str]]:
    """Names and values, as people read them."""
    waiting = f", {card.waiting:,} not embedded yet" if card.waiting else ""
    yield "images", f"{card.images:,}{waiting}; {card.removed:,} removed"
    for source in card.sources:
        gone = "" if source.there else " (not there: nnclip relocate, if it moved)"
        yield "source", f"{source.path}: {source.images:,}{gone}"
    if card.exclude:
        yield "left out", "  ".join(card.exclude)
    not_read = NotRead()
    not_read.update(card.not_read)
    if not_read:
        yield "passed by", str(not_read)
    yield "failed", f"{len(card.failed):,} could not be read"
    reasons = Counter(reason.replace(image, "...") for image, reason in card.failed)
    if len(card.failed) > LISTED:
        for reason, count in reasons.most_common(LISTED):
            yield "", f"{count:,}: {reason}"
    else:
        for image, reason in card.failed:
            yield "", left_out(image, reason)
    model = card.model or "bundled"
    yield "model", f"{model}, {card.precision}, parameters {card.digest[:8]}..."
    yield "kept as", f"{card.embed} numbers in {card.dtype}, format {card.format}"
    yield "index", _index(card)
    if card.size:
        yield "size", f"{card.size / 2**20:,.1f} MB"
    if card.taken:
        first, last = (card.taken[key][:10] for key in ("first", "last"))
        yield "taken", f"{first} to {last}, {card.taken['images']:,} images"
    if card.cameras:
        named = [f"{name} {count:,}" for name, count in list(card.cameras.items())[:CAMERAS]]
        more = len(card.cameras) - CAMERAS
        yield "cameras", ", ".join(named) + (f", {more:,} more" if more > 0 else "")
    if card.places:
        yield "places", f"{card.places:,} images say where they were taken"


def _index(card: Card) -> str:
    if not card.index:
        return "none: every image is compared"
    recall = ", ".join(f"{value:.3f} with {kind}" for kind, value in card.index["recall"].items())
    added = card.index["added_since"]
    since = f"; {added:,} added since" if added else ""
    return f"{card.index['kind']} of {card.index['rows']:,} rows, recall@10 {recall}{since}"
