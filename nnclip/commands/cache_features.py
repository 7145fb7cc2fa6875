"""`nnclip cache-features`: what frozen towers make of pairs, computed once."""

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnclip.commands.options import add_decoding, decoding_of
from nnclip.engine import PRECISIONS
from nnclip.fastest import AUTO
from nnclip.image import USUAL_DECODING
from nnclip.preflight import GB, check_folder, check_readable, room, spoken_time
from nnclip.sources.check import check_images
from nnclip.text import AnyTokenizer
from nnclip.towers import Towers
from nnclip.training.data.decode import Recipe
from nnclip.training.data.pairs import PairTable, by_image
from nnclip.training.data.readers import read_pairs, show_pairs
from nnclip.training.features import FeatureCache, RehearsedCache, Tower, tower_identity
from nnclip.training.head_feed import FeaturePairs, TokenizedTexts, feature_pairs, read_parallel
from nnclip.weights.digest import parameter_digest
from nnclip.weights.finding import find_model
from nnclip.weights.heads import without_heads
from nnclip.weights.model import ModelWeights, load_model

HELP = "compute the features of a model's towers once, for train-heads"


@dataclass(frozen=True)
class Frozen:
    """A model whose towers only answer.

    Attributes:
        weights: the model, mapped.
        tokenizer: its own.
        precision: how its towers compute; None for the fastest exact-enough one.
        context: where.
    """

    weights: ModelWeights
    tokenizer: AnyTokenizer
    precision: str | None
    context: str

    def image(self) -> Tower:
        """The image tower, before its head."""
        towers = self._towers("image")
        return Tower(tower_identity(self.weights, "image", towers.precision), towers.image)

    def text(self) -> Tower:
        """The text tower, before its head."""
        return self._texts(self._towers("text"), tower_identity(self.weights, "text"))

    def teacher(self) -> Tower:
        """The whole text side, with its head."""
        towers = Towers(self.weights, self.precision, self.context, None)
        return self._texts(towers, f"{parameter_digest(self.weights)} {self.weights.config}")

    def _towers(self, side: str) -> Towers:
        return Towers(without_heads(self.weights, side), self.precision, self.context, None)

    def _texts(self, towers: Towers, identity: str) -> Tower:
        context = self.weights.config.text.context

        def encode(texts: list[str]) -> np.ndarray:
            return towers.text(self.tokenizer(texts, context, truncate=True))

        vocabulary = str(self.weights.metadata.get("tokenizer"))
        return Tower(f"{identity} {towers.precision} {context} {vocabulary}", encode)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's flags."""
    parser.add_argument("model", help="an .h5 or a published name")
    parser.add_argument("pairs", help="as train.py takes them: table, COCO .json, folder or shards")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the cache, a folder")
    add_cache_arguments(parser)
    parser.add_argument("-c", "--context", default="cpu", help="cpu, or cudnn")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    parser.add_argument(
        "--dry-run", action="store_true", help="compute two batches, say what all would take"
    )
    parser.add_argument("--workers", type=int, default=-1, help="processes that decode images")
    add_decoding(parser)
    parser.add_argument("--image-root", default="", help="folder that image paths begin in")
    parser.add_argument("--csv-img-key", default="filepath", help="column of image paths")
    parser.add_argument("--csv-caption-key", default="title", help="column of captions")
    parser.add_argument("--separator", default="", help="of a table: one character, or tab")
    parser.add_argument("--max-bad", type=int, default=1000, help="rows that are left out")


def add_cache_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that say how features are made."""
    parser.add_argument(
        "--precision", choices=(*PRECISIONS, AUTO), help="of the towers; default: as for classify"
    )
    parser.add_argument("--half", action="store_true", help="keep features as float16")
    parser.add_argument(
        "--teacher",
        metavar="MODEL",
        help="PAIRS are texts in two columns, the first for this model; the second one's head "
        "learns to give the same embeddings",
    )


def run(args: argparse.Namespace) -> int:
    """Compute what is missing; prints what there is."""
    check_folder(args.output, "--output")
    workers = args.workers if args.workers >= 0 else os.cpu_count() or 1
    if args.dry_run:
        return _rehearse(args, RehearsedCache(args.output, args.half, workers))
    cache = FeatureCache(args.output, args.half, workers)
    pairs = cached_pairs(args, args.pairs, frozen(args.model, args), cache)
    assert isinstance(pairs.text, np.ndarray)
    about = {
        "path": str(args.output),
        "images": len(pairs),
        "texts": len(pairs.text),
        "image_width": pairs.image.shape[1],
        "text_width": pairs.text.shape[1],
        "broken": pairs.broken,
        "not_read": dict(pairs.not_read),
    }
    if args.json:
        print(json.dumps(about))
    else:
        print(
            "{path}: {images} images of width {image_width}, {texts} texts of width "
            "{text_width}; {broken} images could not be read".format(**about)
        )
    return 0


def _rehearse(args: argparse.Namespace, cache: RehearsedCache) -> int:
    """Say what would be computed, and how long it would take."""
    cached_pairs(args, args.pairs, frozen(args.model, args), cache)
    if args.json:
        print(json.dumps({"path": str(args.output), "features": cache.told}))
        return 0
    for one in cache.told:
        print(
            f"dry run: would compute {one['rows'] - one['there']:,} of {one['rows']:,} "
            f"{one['name']} features in {spoken_time(one['seconds'])}, {one['bytes'] / GB:.3f} GB"
        )
    print(f"{args.output}: {room(args.output) / GB:.1f} GB free")
    return 0


def frozen(source: str, args: argparse.Namespace) -> Frozen:
    """The model of that name or file, as the flags want it to compute."""
    return open_frozen(source, args.precision, args.context or "cpu")


def open_frozen(source: str, precision: str | None = None, context: str = "cpu") -> Frozen:
    """The model of that name or file; see `Frozen`."""
    path = find_model(source)
    weights = load_model(path, mapped=True)
    tokenizer = weights.config.text.tokenizer(weights.metadata, path)
    precision = precision or os.environ.get("NNCLIP_PRECISION")
    return Frozen(weights, tokenizer, precision, context)


def checked_table(args: argparse.Namespace, source: str) -> PairTable:
    """The pairs of a source, a row for each image; DataError where too many are broken."""
    keys = args.image_root or None, args.csv_img_key, args.csv_caption_key
    pairs = read_pairs(source, *keys, separator=args.separator, max_bad=args.max_bad)
    show_pairs(source, pairs)
    table = by_image(pairs)
    check_images(table, f"PAIRS {source}", args.max_bad, table.dropped)
    return table


def cached_pairs(
    args: argparse.Namespace,
    source: str,
    model: Frozen,
    cache: FeatureCache,
    tower: bool = False,
) -> FeaturePairs:
    """The features of a source of pairs, computed where they are not in the cache.

    With a teacher and `tower`, the student's side is its texts: its tower learns.

    Raises:
        NnclipError: of all kinds, see `readers.read_pairs` and `FeatureCache`.
    """
    if args.teacher:
        check_readable(source, "PAIRS")
        for_teacher, for_student = read_parallel(Path(source), args.separator, args.max_bad)
        targets = cache.texts(for_teacher, frozen(args.teacher, args).teacher())
        rows = np.arange(len(for_teacher) + 1)
        if tower:
            reader = model.weights.config.text
            texts = TokenizedTexts(for_student, reader, model.tokenizer, reader.context)
            return FeaturePairs(targets.rows, texts, rows, rows[:-1])
        features = cache.texts(for_student, model.text())
        return FeaturePairs(targets.rows, features.rows, rows, rows[:-1])
    table = checked_table(args, source)
    decoding = decoding_of(args, USUAL_DECODING)
    recipe = Recipe(model.weights.config.image.preprocess, None, decoding)
    images = cache.images(table, recipe, model.image())
    captions = [text for row in range(len(table)) for text in table[row].captions]
    return feature_pairs(table, images, cache.texts(captions, model.text()))
