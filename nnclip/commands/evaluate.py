"""`python -m nnclip evaluate`: the field's numbers of any model, as a table, JSON and figures."""

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

from nnclip.commands.options import (
    add_decoding,
    add_model_arguments,
    decoding_of,
    load_model,
    prepare_gpu,
)
from nnclip.embeddings import unit
from nnclip.errors import ConfigError, DataError
from nnclip.evaluate import tasks
from nnclip.evaluate.captioned import read_captioned
from nnclip.evaluate.labelled import read_labelled
from nnclip.evaluate.ranks import Ranks, join
from nnclip.evaluate.report import Record, format_table, metrics_table, per_class_table
from nnclip.files import shown
from nnclip.image import NotRead
from nnclip.model import CLIP
from nnclip.preflight import check_folder, check_packages
from nnclip.sources import Ask, Found, Sample, open_stored, read_source
from nnclip.sources.check import check_images
from nnclip.text.prompts import TEMPLATES, load_class_names, read_templates
from nnclip.weights.download import cache_dir

logger = logging.getLogger(__name__)

SETS = (".tar", ".json", ".csv", ".tsv")  # files that `predict` takes for many images

HELP = "measure a model: zero-shot, retrieval, linear probe, typographic attack, bias; draw figures"
Task = Callable[[argparse.Namespace, tasks.Subject], list[Record]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `nnclip evaluate`: one task and what it needs."""
    choices = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    one = _task(choices, zero_shot, "classes from their names alone")
    _add_labelled(one)
    _add_templates(one)
    one = _task(choices, retrieval, "images by their captions and captions by their images")
    one.add_argument("data", type=Path, help="COCO's or Karpathy's .json, or a csv with filepath")
    one.add_argument("--images", type=Path, metavar="DIR", help="where the images are")
    one.add_argument("--caption", default="title", metavar="COLUMN", help="of a table (title)")
    one.add_argument("--separator", default="", help="of a table: one character, or tab")
    one.add_argument("--split", default="test", help="of Karpathy's files (test)")
    one.add_argument("--language", metavar="CODES", help="comma-separated, or `all`; each apart")
    one = _task(choices, linear_probe, "a logistic regression on frozen embeddings")
    one.add_argument("train", type=Path, help="as DATA; the same folder for CIFAR")
    _add_labelled(one)
    one.add_argument("--strength", type=float, metavar="C", help="of the data; default: tried out")
    one = _task(choices, typographic, "accuracy when a wrong word is written onto each image")
    _add_labelled(one)
    _add_templates(one)
    one = _task(choices, bias, "which captions the images of each folder get")
    _add_labelled(one)
    _add_texts(one)
    one = _task(choices, predict, "texts for images, without right answers")
    one.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="files or folders")
    _add_texts(one)
    _add_templates(one)
    one = _task(choices, training, "the curves of a training run", model=False)
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
    if args.task == "linear-probe":
        check_packages("sklearn")
    for name in ("texts", "classes"):
        if getattr(args, name, None):
            load_class_names(getattr(args, name))
    if "templates" in args:
        _templates(args)


def _check_images(subject: tasks.Subject, sources: Sequence[tasks.Source], where: Path) -> None:
    """Decode a sample before texts are embedded, which may take long."""
    stored = [it if isinstance(it, Sample) else Sample(str(it)) for it in sources]
    if subject.ranks.rank == 0 and stored:
        check_images(stored, f"DATA {where}")


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


def _draws(args: argparse.Namespace, subject: tasks.Subject) -> bool:
    """Whether this process is the one to draw figures; callers import matplotlib only then."""
    return args.figures is not None and subject.ranks.rank == 0


def _templates(args: argparse.Namespace) -> Sequence[str]:
    return read_templates(args.templates, "--templates")


def _labelled(args: argparse.Namespace, path: Path, split: str | None = None):  # type: ignore[no-untyped-def]
    names = load_class_names(args.classes) if args.classes else None
    return read_labelled(path, names, args.label, split or args.split, args.separator)


def zero_shot(args: argparse.Namespace, subject: tasks.Subject) -> list[Record]:
    """Zero-shot classification."""
    data = _labelled(args, args.data)
    _check_images(subject, data.sources, args.data)
    answers, record, found = tasks.zero_shot(subject, data, _templates(args))
    if _draws(args, subject):
        from nnclip.evaluate.gallery import classification_figures

        classification_figures(args.figures, answers, data, found)
    return [record]


def retrieval(args: argparse.Namespace, subject: tasks.Subject) -> list[Record]:
    """Retrieval, of all captions or of each language apart."""
    data = read_captioned(args.data, args.images, args.split, args.caption, args.separator)
    _check_images(subject, data.paths, args.data)
    codes = [code.strip() for code in args.language.split(",")] if args.language else []
    if codes == ["all"]:
        codes = sorted(set(data.languages) - {""}, key=lambda code: (code != "en", code))
    records, found, texts, readable = tasks.retrieval(subject, data, codes)
    if _draws(args, subject):
        from nnclip.evaluate.gallery import retrieval_figures

        retrieval_figures(args.figures, readable, found, texts, data.paths)
    return records


def linear_probe(args: argparse.Namespace, subject: tasks.Subject) -> list[Record]:
    """Linear probe."""
    train, test = _labelled(args, args.train, "train"), _labelled(args, args.data)
    _check_images(subject, train.sources, args.train)
    _check_images(subject, test.sources, args.data)
    answers, record, found = tasks.probe(subject, train, test, args.strength)
    if _draws(args, subject):
        from nnclip.evaluate.gallery import classification_figures

        classification_figures(args.figures, answers, test, found)
    return [record]


def typographic(args: argparse.Namespace, subject: tasks.Subject) -> list[Record]:
    """Typographic attack."""
    data = _labelled(args, args.data)
    _check_images(subject, data.sources, args.data)
    attack, record, found = tasks.typographic(subject, data, _templates(args))
    if _draws(args, subject):
        from nnclip.evaluate.gallery import typographic_figures

        typographic_figures(args.figures, attack, data, found)
    return [record]


def bias(args: argparse.Namespace, subject: tasks.Subject) -> list[Record]:
    """Bias."""
    data = _labelled(args, args.data)
    _check_images(subject, data.sources, args.data)
    measured, record, found = tasks.bias(subject, data, load_class_names(args.texts))
    if _draws(args, subject):
        from nnclip.evaluate.gallery import bias_figures

        bias_figures(args.figures, measured, data, found)
    return [record]


def predict(args: argparse.Namespace, subject: tasks.Subject) -> list[Record]:
    """The likeliest text of each image; prints its own table."""
    texts = load_class_names(args.texts)
    samples, not_read = _samples(args.images)
    rows = subject.classes(texts, _templates(args))
    found = subject.images(samples)
    similarities = found.rows @ rows.T
    probabilities = subject.scorer.probabilities(similarities)
    if subject.ranks.rank:
        return []
    lines = [["image", "text", "probability"]]
    for index, row in zip(found.kept, probabilities, strict=True):
        scores = dict(zip(texts, map(float, row), strict=True))
        best = max(scores, key=lambda text: scores[text])
        lines.append([shown(samples[index].name), best, f"{scores[best]:.2%}"])
        if args.json:
            line = {"image": samples[index].name, "probabilities": scores}
            print(json.dumps(line, ensure_ascii=False))
    if args.json:
        for name, reason in found.skipped:
            print(json.dumps({"image": name, "skipped": reason}, ensure_ascii=False))
        if not_read:
            print(json.dumps({"not_read": not_read}, ensure_ascii=False))
    else:
        print(format_table(lines))
    if _draws(args, subject):
        from nnclip.evaluate.gallery import prediction_figures

        images = [open_stored(samples[index]) for index in found.kept]
        prediction_figures(args.figures, images, similarities, probabilities, texts)
    return []


def _samples(given: Sequence[Path]) -> tuple[list[Sample], NotRead]:
    """The images of all sources, and what is passed over; a file of any other name is an image."""
    samples, found = list[Sample](), Found()
    for path in given:
        whole = path.is_dir() or path.suffix.lower() in SETS
        samples += read_source(path, Ask(), found) if whole else [Sample(str(path))]
    if found.not_read:
        logger.warning("%s", found.not_read.told)
    if not samples:
        raise DataError(f"no image in {', '.join(map(shown, given))}")
    return samples, found.not_read


def training(args: argparse.Namespace, _: tasks.Subject | None) -> list[Record]:
    """A run's figures."""
    from nnclip.evaluate.gallery import training_figures

    data = read_captioned(args.pairs) if args.pairs else None
    for path in training_figures(args.figures or args.run_folder, args.run_folder, data):
        print(shown(path))
    return []
