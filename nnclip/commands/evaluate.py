"""`nnclip evaluate`: the field's numbers of any model, as a table, JSON and figures."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from nnclip.commands import evaluate_tasks as of
from nnclip.commands.options import (
    add_decoding,
    add_model_arguments,
    decoding_of,
    load_model,
    prepare_gpu,
)
from nnclip.embeddings import unit
from nnclip.errors import ConfigError
from nnclip.evaluate import tasks
from nnclip.evaluate.few_shot import Methods
from nnclip.evaluate.ranks import Ranks, join
from nnclip.evaluate.report import Record, metrics_table, per_class_table
from nnclip.model import CLIP
from nnclip.preflight import check_folder, check_packages
from nnclip.sources import open_stored
from nnclip.text.prompts import TEMPLATES, load_class_names
from nnclip.weights.download import cache_dir

logger = logging.getLogger(__name__)

HELP = "measure a model: zero-shot, few-shot, retrieval, typographic attack, bias; draw figures"
Task = Callable[[argparse.Namespace, tasks.Subject], list[Record]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `nnclip evaluate`: one task and what it needs."""
    choices = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    one = _task(choices, of.zero_shot, "classes from their names alone")
    _add_labelled(one)
    _add_templates(one)
    one = _task(choices, of.retrieval, "images by their captions and captions by their images")
    one.add_argument("data", type=Path, help="COCO's or Karpathy's .json, or a csv with filepath")
    one.add_argument("--images", type=Path, metavar="DIR", help="where the images are")
    one.add_argument("--caption", default="title", metavar="COLUMN", help="of a table (title)")
    one.add_argument("--separator", default="", help="of a table: one character, or tab")
    one.add_argument("--split", default="test", help="of Karpathy's files (test)")
    one.add_argument("--language", metavar="CODES", help="comma-separated, or `all`; each apart")
    one = _task(choices, of.linear_probe, "a logistic regression on frozen embeddings")
    one.add_argument("train", type=Path, help="as DATA; the same folder for CIFAR")
    _add_labelled(one)
    one.add_argument("--strength", type=float, metavar="C", help="of the data; default: tried out")
    one = _task(choices, of.few_shot, "k images of each class beside its name, without training")
    one.add_argument("train", type=Path, help="as DATA; the same folder for CIFAR")
    _add_labelled(one)
    _add_templates(one)
    one.add_argument("--shots", default="1,2,4,8,16", help="images a class (%(default)s)")
    one.add_argument("--draws", type=int, default=3, help="how often they are drawn (%(default)s)")
    for name, help in (
        ("alpha", "what shots count beside names: Tip-Adapter"),
        ("beta", "how much nearer shots count more: Tip-Adapter"),
        ("strength", "of the data: linear probe"),
    ):
        default = getattr(Methods, name)
        one.add_argument(f"--{name}", type=float, default=default, help=f"{help} (%(default)s)")
    one = _task(choices, of.typographic, "accuracy when a wrong word is written onto each image")
    _add_labelled(one)
    _add_templates(one)
    one = _task(choices, of.bias, "which captions the images of each folder get")
    _add_labelled(one)
    _add_texts(one)
    one = _task(choices, of.predict, "texts for images, without right answers")
    one.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="files or folders")
    _add_texts(one)
    _add_templates(one)
    one = _task(choices, of.training, "the curves of a training run", model=False)
    one.add_argument("run_folder", type=Path, metavar="RUN", help="the folder with its log.jsonl")
    one.add_argument("--pairs", type=Path, help="draw some of these pairs, too (csv or .json)")


def _task(choices, task: Task, help: str, model: bool = True):  # type: ignore[no-untyped-def]
    name = task.__name__.replace("_", "-")
    parser = choices.add_parser(name, help=help, description=help)
    parser.set_defaults(measure=task, needs_model=model)
    parser.add_argument("--figures", type=Path, metavar="DIR", help="draw figures into this folder")
    if model:
        parser.add_argument("--json", action="store_true", help="print CLIP_benchmark's JSON")
        parser.add_argument(
            "--dry-run", action="store_true", help="read the data, say what would be measured"
        )
        parser.add_argument(
            "--batch-size",
            type=int,
            default=64,
            metavar="N",
            help="images computed at once (%(default)s)",
        )
        add_decoding(parser, as_seen=False)
        add_model_arguments(parser)
    return parser


def _add_labelled(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data", type=Path, help="a folder of one folder a class, CIFAR's files, or a csv"
    )
    parser.add_argument("--classes", type=Path, metavar="FILE", help="class names, one per line")
    parser.add_argument("--label", default="label", metavar="COLUMN", help="of a table (label)")
    parser.add_argument("--separator", default="", help="of a table: one character, or tab")
    parser.add_argument("--split", default="test", help="of CIFAR (test)")
    parser.add_argument("--per-class", action="store_true", help="print every class, too")


def _add_texts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--texts",
        type=Path,
        required=True,
        metavar="FILE",
        help="captions to choose from, one per line",
    )


def _add_templates(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--templates",
        default="plain",
        help=f"{', '.join(TEMPLATES)}, a text with {{}}, or a file of such lines (plain)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure; rank 0 prints."""
    if not args.needs_model:
        args.measure(args, None)
        return 0
    _check(args)
    prepare_gpu(args)
    ranks = join()
    try:
        records = args.measure(args, _subject(args, ranks))
    except BaseException as error:
        if not ranks.agreed and ranks.size > 1:  # the others may know nothing of it, and wait
            print(f"nnclip evaluate, process {ranks.rank}: {error!r}", file=sys.stderr, flush=True)
            ranks.abort()
        raise
    if ranks.rank == 0 and records:
        if args.json:
            print(json.dumps(records[0] if len(records) == 1 else records, ensure_ascii=False))
        else:
            print(metrics_table(records))
            if getattr(args, "per_class", False) and "per_class" in records[0]:
                print("\n" + per_class_table(records[0]["per_class"]))
    return 0


def _check(args: argparse.Namespace) -> None:
    """What can be found out without the model: packages, figures, lists of texts."""
    if args.figures is not None:
        check_folder(args.figures, "--figures")
        check_packages("matplotlib")
    if args.task in ("linear-probe", "few-shot"):
        check_packages("sklearn")
    for name in ("texts", "classes"):
        if getattr(args, name, None):
            load_class_names(getattr(args, name))
    if "templates" in args:
        of.templates_of(args)


def _subject(args: argparse.Namespace, ranks: Ranks) -> tasks.Subject:
    """The model as two callables."""
    if args.batch_size < 1:
        raise ConfigError(f"--batch-size {args.batch_size}: expected at least 1")
    model: CLIP = load_model(args)

    def embed_images(images: Sequence[Image.Image]) -> np.ndarray:
        return unit(model.encode_image(np.stack([model.preprocess(it) for it in images])))

    def embed_texts(texts: Sequence[str]) -> np.ndarray:
        return unit(model.encode_text(model.tokenize(texts, truncate=True)))

    digest = sha256(model.path.read_bytes()).hexdigest()
    return tasks.Subject(
        embed_images,
        embed_texts,
        model.scorer,
        args.model or "bundled",
        model.path.name,
        ranks,
        cache_dir(),
        f"{digest} {model.precision}",
        args.batch_size,
        partial(open_stored, preprocess=model.config.image.preprocess, decoding=decoding_of(args)),
    )
