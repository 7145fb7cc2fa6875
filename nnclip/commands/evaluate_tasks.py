"""What `nnclip evaluate TASK` does for each task: reads the data, measures, draws.

Every task takes the flags and the model, and returns its records.
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from nnclip.errors import ConfigError, DataError
from nnclip.evaluate import tasks
from nnclip.evaluate.captioned import read_captioned
from nnclip.evaluate.few_shot import Methods, measure_few_shot
from nnclip.evaluate.labelled import LabelledImages, read_labelled
from nnclip.evaluate.report import Record, format_table
from nnclip.files import shown
from nnclip.image import NotRead
from nnclip.preflight import spoken_time
from nnclip.sources import Ask, Found, Sample, open_stored, read_source
from nnclip.sources.check import check_images
from nnclip.text.prompts import load_class_names, read_templates

logger = logging.getLogger(__name__)

SETS = (".tar", ".json", ".csv", ".tsv")  # files that `predict` takes for many images


def _ready(
    args: argparse.Namespace,
    subject: tasks.Subject,
    *parts: tuple[str | Path, Sequence[tasks.Source]],
) -> bool:
    """Decode a sample of each part's images before texts are embedded, which may take long.

    Returns: whether to go on. A dry run ends here, and says what it would have measured.
    """
    for where, sources in parts:
        stored = [it if isinstance(it, Sample) else Sample(str(it)) for it in sources]
        if subject.ranks.rank == 0 and stored:
            check_images(stored, f"DATA {where}")
        if args.dry_run:
            some = [sources[row] for row in range(min(subject.batch, len(sources)))]
            subject.images(some)  # compiles
            began = time.monotonic()
            subject.images(some)
            seconds = (time.monotonic() - began) * len(sources) / len(some)
            if subject.ranks.rank == 0:
                told = f"{len(sources):,} images, {spoken_time(seconds)}"
                print(f"dry run: {shown(where)}: would embed {told}")
    return not args.dry_run


def _draws(args: argparse.Namespace, subject: tasks.Subject) -> bool:
    """Whether this process is the one to draw figures; callers import matplotlib only then."""
    return args.figures is not None and subject.ranks.rank == 0


def templates_of(args: argparse.Namespace) -> Sequence[str]:
    """The templates that the flags name."""
    return read_templates(args.templates, "--templates")


def _labelled(args: argparse.Namespace, path: Path, split: str | None = None) -> LabelledImages:
    names = load_class_names(args.classes) if args.classes else None
    return read_labelled(path, names, args.label, split or args.split, args.separator)


def zero_shot(args: argparse.Namespace, subject: tasks.Subject) -> list[Record]:
    """Zero-shot classification."""
    data = _labelled(args, args.data)
    if not _ready(args, subject, (args.data, data.sources)):
        return []
    answers, record, found = tasks.zero_shot(subject, data, templates_of(args))
    if _draws(args, subject):
        from nnclip.evaluate.gallery import classification_figures

        classification_figures(args.figures, answers, data, found)
    return [record]


def retrieval(args: argparse.Namespace, subject: tasks.Subject) -> list[Record]:
    """Retrieval, of all captions or of each language apart."""
    data = read_captioned(args.data, args.images, args.split, args.caption, args.separator)
    if not _ready(args, subject, (args.data, data.paths)):
        return []
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
    if not _ready(args, subject, (args.train, train.sources), (args.data, test.sources)):
        return []
    answers, record, found = tasks.probe(subject, train, test, args.strength)
    if _draws(args, subject):
        from nnclip.evaluate.gallery import classification_figures

        classification_figures(args.figures, answers, test, found)
    return [record]


def few_shot(args: argparse.Namespace, subject: tasks.Subject) -> list[Record]:
    """Few shots."""
    counts = args.shots.split(",")
    if not all(count.strip().isdecimal() and int(count) for count in counts):
        raise ConfigError(f"--shots: found {args.shots!r}, expected numbers such as 1,4,16")
    methods = Methods(args.alpha, args.beta, args.strength)
    train, test = _labelled(args, args.train, "train"), _labelled(args, args.data)
    if not _ready(args, subject, (args.train, train.sources), (args.data, test.sources)):
        return []
    shots, templates = tuple(map(int, counts)), templates_of(args)
    record = measure_few_shot(subject, train, test, templates, shots, args.draws, methods)
    if _draws(args, subject):
        from nnclip.evaluate.gallery import few_shot_figures

        few_shot_figures(args.figures, record["metrics"])
    return [record]


def typographic(args: argparse.Namespace, subject: tasks.Subject) -> list[Record]:
    """Typographic attack."""
    data = _labelled(args, args.data)
    if not _ready(args, subject, (args.data, data.sources)):
        return []
    attack, record, found = tasks.typographic(subject, data, templates_of(args))
    if _draws(args, subject):
        from nnclip.evaluate.gallery import typographic_figures

        typographic_figures(args.figures, attack, data, found)
    return [record]


def bias(args: argparse.Namespace, subject: tasks.Subject) -> list[Record]:
    """Bias."""
    data = _labelled(args, args.data)
    if not _ready(args, subject, (args.data, data.sources)):
        return []
    measured, record, found = tasks.bias(subject, data, load_class_names(args.texts))
    if _draws(args, subject):
        from nnclip.evaluate.gallery import bias_figures

        bias_figures(args.figures, measured, data, found)
    return [record]


def predict(args: argparse.Namespace, subject: tasks.Subject) -> list[Record]:
    """The likeliest text of each image; prints its own table."""
    texts = load_class_names(args.texts)
    samples, not_read = _samples(args.images)
    if args.dry_run and not _ready(args, subject, ("IMAGE", samples)):
        return []
    rows = subject.classes(texts, templates_of(args))
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
