"""`nnclip cluster`: groups of images that are alike, named by words."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.commands.filters import from_here
from nnclip.commands.options import add_model_arguments, load_model
from nnclip.errors import ConfigError, DataError
from nnclip.files import read_text, shown
from nnclip.search.clusters import MOST, Clusters, clusters, words_of
from nnclip.search.image_search import ImageSearch
from nnclip.search.rows import unit_rows
from nnclip.search.store import open_store

HELP = "divide a collection into groups of images that are alike, named by words"
WORDS = Path(__file__).parent.parent / "search" / "words.txt"
BATCH = 64  # words that the model gets at once
TYPICAL = 3  # images of a group that are named


@dataclass(frozen=True)
class Named:
    """A divided collection.

    Attributes:
        store: the collection.
        found: its clusters.
        names: words of each.
    """

    store: Any
    found: Clusters
    names: list[list[str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    add_clustering(parser)
    parser.add_argument(
        "--members", action="store_true", help="with --json: the images of each group, all of them"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list of groups")


def add_clustering(parser: argparse.ArgumentParser) -> None:
    """Declare the collection, and how it is divided."""
    parser.add_argument("collection", metavar="EMB", help="folder, or postgresql://...")
    parser.add_argument(
        "-k",
        "--count",
        type=int,
        metavar="N",
        help=f"groups; default: the root of half the images, {MOST} at most",
    )
    parser.add_argument(
        "--words",
        type=Path,
        metavar="FILE",
        help="words to name groups by, one a line, in any language that the model knows; default: "
        "a list of everyday English",
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the groups, the largest first."""
    named = divided(args)
    found, typical = named.found, []
    for number in range(len(found.centres)):
        records = named.store.records(found.typical(number, TYPICAL))
        typical.append([record["image"] for record in records])
    if args.json:
        groups = []
        for number, (words, images) in enumerate(zip(named.names, typical, strict=True)):
            group = {"words": words, "images": int(found.sizes[number]), "typical": images}
            if args.members:
                rows = found.rows[found.of == number]
                group["members"] = [record["image"] for record in named.store.records(rows)]
            groups.append(group)
        print(json.dumps(groups, ensure_ascii=False))
        return 0
    width = max(len(", ".join(words)) for words in named.names)
    for number, (words, images) in enumerate(zip(named.names, typical, strict=True)):
        said = f"{found.sizes[number]:7,}  {', '.join(words):<{width}}  {from_here(images[0])}"
        print(shown(said))
    return 0


def divided(args: argparse.Namespace) -> Named:
    """The collection that the flags name, divided as they say.

    Raises:
        DataError: no such collection, one without images, or no words.
        ConfigError: the model is not the collection's, or more groups than images.
    """
    words = _words(args.words or WORDS)
    if args.count is not None and args.count < 1:
        raise ConfigError(f"-k {args.count}: expected at least 1")
    store = open_store(args.collection)
    blocks, dead = store.vectors()
    alive = np.setdiff1d(np.arange(sum(map(len, blocks))), dead, assume_unique=True)
    if not len(alive):
        raise DataError(f"{shown(args.collection)}: found no image in it, expected some")
    model = load_model(args, store.manifest.model or None)
    ImageSearch.over(store, model)  # refuses another model
    parts = [words[at : at + BATCH] for at in range(0, len(words), BATCH)]
    words_WE = np.concatenate(
        [unit_rows(model.encode_text(model.tokenize(part, truncate=True))) for part in parts]
    )
    found = clusters(blocks, alive, args.count)
    return Named(store, found, words_of(found.centres, words_WE, words))


def _words(path: Path) -> list[str]:
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--words {shown(path)}: cannot be read ({error})") from error
    words = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not words:
        raise DataError(f"--words {shown(path)}: found no word, expected one a line")
    return words
