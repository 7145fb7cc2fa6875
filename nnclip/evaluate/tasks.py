"""The evaluations whole: from a data set and two callables to answers and a record."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.evaluate.bias import Bias, measure_bias
from nnclip.evaluate.captioned import CaptionedImages
from nnclip.evaluate.classifier import class_embeddings
from nnclip.evaluate.embedding import (
    ALONE,
    BATCH,
    Embedded,
    EmbedImages,
    EmbedTexts,
    OpenImage,
    Source,
    as_openai,
    embed_sentences,
    embed_sources,
    summary,
)
from nnclip.evaluate.labelled import LabelledImages
from nnclip.evaluate.linear_probe import Examples, linear_probe
from nnclip.evaluate.ranks import Ranks
from nnclip.evaluate.report import Record, make_record
from nnclip.evaluate.retrieval import retrieval_ranks
from nnclip.evaluate.typographic import Attack, write_word, wrong_classes
from nnclip.evaluate.zero_shot import Classification, classify
from nnclip.files import to_name
from nnclip.graph.losses import USUAL, Scorer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """What is measured, and how.

    Args:
        embed_images, embed_texts: see `nnclip.evaluate`.
        scorer: turns cosines into logits and probabilities.
        model, pretrained: its names in the records.
        ranks: the processes that share the work.
        cache: folder of class embeddings; None keeps none.
        fingerprint: tells this model from others in the cache.
        batch: images a call.
        open_image: opens a source, see `embed_sources`.
    """

    embed_images: EmbedImages
    embed_texts: EmbedTexts
    scorer: Scorer = USUAL
    model: str = "model"
    pretrained: str = ""
    ranks: Ranks = ALONE
    cache: Path | None = None
    fingerprint: str = ""
    batch: int = BATCH
    open_image: OpenImage = as_openai

    def images(self, sources: Sequence[Source], **options: Any) -> Embedded:
        """Embed images; warns of those that cannot be read."""
        options |= {"batch": self.batch, "open_image": self.open_image}
        found = embed_sources(self.embed_images, sources, self.ranks, **options)
        if found.skipped and self.ranks.rank == 0:
            count = len(found.skipped)
            logger.warning(
                "skipped %d of %d images: %s", count, len(sources), summary(found.skipped)
            )
        return found

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts."""
        return embed_sentences(self.embed_texts, texts, self.ranks)

    def classes(self, names: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        """Embed class names."""
        return class_embeddings(
            self.embed_texts,
            names,
            templates,
            self.ranks,
            cache=self.cache,
            fingerprint=self.fingerprint,
        )

    def record(self, dataset: str, task: str, metrics: dict[str, float], **about: Any) -> Record:
        """See `make_record`."""
        return make_record(dataset, self.model, self.pretrained, task, metrics, **about)


def skipped_of(found: Embedded) -> list[dict[str, str]]:
    """What a record says of the images that could not be read."""
    return [{"image": name, "reason": reason} for name, reason in found.skipped]


def zero_shot(
    subject: Subject, data: LabelledImages, templates: Sequence[str]
) -> tuple[Classification, Record, Embedded]:
    """Zero-shot classification.

    Raises:
        DataError: no readable image, bad templates, or embeddings that are not finite.
    """
    class_rows = subject.classes(data.classes, templates)
    found = subject.images(data.sources)
    labels = data.labels[found.kept]
    answers = classify(found.rows, labels, class_rows, data.classes, subject.scorer)
    return answers, _classification_record(subject, data, answers, found, "classification"), found


def _classification_record(
    subject: Subject,
    data: LabelledImages,
    answers: Classification,
    found: Embedded,
    kind: str,
    **about: Any,
) -> Record:
    empty = answers.empty_classes
    if empty and subject.ranks.rank == 0:
        names = ", ".join(empty[:5]) + ("..." if len(empty) > 5 else "")
        logger.warning("%d classes have no image and count in no mean: %s", len(empty), names)
    return subject.record(
        data.name,
        "zeroshot_classification" if kind == "classification" else kind,
        answers.metrics(),
        images=len(answers.labels),
        classes=len(data.classes),
        empty_classes=empty,
        skipped=skipped_of(found),
        not_read=dict(data.not_read),
        per_class=answers.per_class(),
        **about,
    )


def retrieval(
    subject: Subject, data: CaptionedImages, languages: Sequence[str] = ()
) -> tuple[list[Record], Embedded, np.ndarray, CaptionedImages]:
    """Retrieval both ways.

    Args:
        subject: the model.
        data: captioned images.
        languages: measure the captions of each of these apart, among all images that have one;
            none measures all captions together.

    Returns:
        A record for each language and one, "mean", of all but English; or one record of all. The
        embedded images, the embedded texts, and the data set of the readable images.

    Raises:
        DataError: no readable image, a language without captions.
    """
    for code in languages:  # before hours of embedding
        data.only(code)
    found = subject.images(data.paths)
    readable = data.without(set(range(len(data.paths))) - set(found.kept.tolist()))
    row_of = {data.paths[index]: row for row, index in enumerate(found.kept)}
    about: dict[str, Any] = {
        "missing": list(map(to_name, data.missing)),
        "skipped": skipped_of(found),
        "not_read": dict(data.not_read),
    }
    parts = [readable.only(code) for code in languages] or [readable]
    all_texts = subject.texts(readable.texts)
    text_row = {text: row for row, text in enumerate(readable.texts)}
    records = []
    for part in parts:
        rows = found.rows[[row_of[path] for path in part.paths]]
        texts = all_texts[[text_row[text] for text in part.texts]]
        ranks = retrieval_ranks(rows, texts, part.image_of_text, subject.ranks)
        named = set(part.languages) - {""}
        language = named.pop() if len(named) == 1 else ("mixed" if named else "en")
        counts = {"images": len(part.paths), "texts": len(part.texts)}
        records.append(
            subject.record(
                data.name,
                "zeroshot_retrieval",
                ranks.metrics(),
                language=language,
                **counts,
                **about,
            )
        )
    if len(records) > 1:
        records.append(_mean_record(subject, data.name, records))
    return records, found, all_texts, readable


def _mean_record(subject: Subject, dataset: str, records: Sequence[Record]) -> Record:
    """The mean over all languages but English."""
    others = [record for record in records if record["language"] != "en"] or list(records)
    names = others[0]["metrics"]
    metrics = {name: float(np.mean([r["metrics"][name] for r in others])) for name in names}
    used = [record["language"] for record in others]
    return subject.record(dataset, "zeroshot_retrieval", metrics, language="mean", mean_of=used)


def probe(
    subject: Subject, train: LabelledImages, test: LabelledImages, strength: float | None
) -> tuple[Classification, Record, Embedded]:
    """Linear probe. The two data sets must have the same classes.

    Raises:
        DataError: they have not, or there is too little to fit.
    """
    check_classes(train, test)
    seen, found = subject.images(train.sources), subject.images(test.sources)
    examples = Examples(seen.rows, train.labels[seen.kept])
    asked = Examples(found.rows, test.labels[found.kept])
    answers, used = linear_probe(examples, asked, test.classes, strength)
    extra = {
        "strength": used,
        "train_images": len(seen.rows),
        "train_skipped": skipped_of(seen),
        "train_not_read": dict(train.not_read),
    }
    return (
        answers,
        _classification_record(subject, test, answers, found, "linear_probe", **extra),
        found,
    )


def check_classes(train: LabelledImages, test: LabelledImages) -> None:
    """DataError where two data sets have different classes."""
    if train.classes != test.classes:
        odd = set(train.classes) ^ set(test.classes)
        raise DataError(
            f"{train.name} and {test.name} have different classes: {', '.join(sorted(odd)[:5])} "
            "only in one of them; name them all with --classes"
        )


def typographic(
    subject: Subject, data: LabelledImages, templates: Sequence[str]
) -> tuple[Attack, Record, Embedded]:
    """Typographic attack: the same images with and without a wrong class's name on them.

    Raises:
        ConfigError: fewer than two classes.
        DataError: as `zero_shot`.
    """
    if len(data.classes) < 2:
        raise ConfigError(f"{data.name} has {len(data.classes)} class: no wrong one to write")
    clean, _, found = zero_shot(subject, data, templates)
    written = wrong_classes(data.labels, len(data.classes))
    attacked = subject.images(
        data.sources, change=lambda i, image: write_word(image, data.classes[written[i]])
    )
    class_rows = subject.classes(data.classes, templates)
    answers = classify(
        attacked.rows, data.labels[attacked.kept], class_rows, data.classes, subject.scorer
    )
    attack = Attack(clean, answers, written[found.kept])
    counts = {
        "images": len(clean.labels),
        "skipped": skipped_of(found),
        "not_read": dict(data.not_read),
    }
    return (
        attack,
        subject.record(data.name, "typographic_attack", attack.metrics(), **counts),
        found,
    )


def bias(
    subject: Subject, data: LabelledImages, captions: Sequence[str]
) -> tuple[Bias, Record, Embedded]:
    """Bias: the classes of `data` are its groups.

    Raises:
        DataError: a group without a readable image, or fewer than two captions.
    """
    found = subject.images(data.sources)
    groups = data.labels[found.kept]
    texts = subject.texts(captions)
    measured = measure_bias(
        found.rows, groups, texts, data.classes, tuple(captions), subject.scorer
    )
    table = [
        {"group": group, **{c: float(p) for c, p in zip(captions, row, strict=True)}}
        for group, row in zip(data.classes, measured.means(), strict=True)
    ]
    about = {
        "groups": table,
        "images": len(groups),
        "skipped": skipped_of(found),
        "not_read": dict(data.not_read),
    }
    return measured, subject.record(data.name, "bias", measured.metrics(), **about), found
