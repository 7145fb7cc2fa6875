"""Images with classes, from sources of any kind."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.files import shown, to_name
from nnclip.image import ImageSource, NotRead
from nnclip.sources import Ask, Found, Sample, read_source

logger = logging.getLogger(__name__)

SPLITS = ("test", "train")


@dataclass(frozen=True)
class LabelledImages:
    """A data set for classification.

    Args:
        name: of the data set.
        classes: names, in the order of the labels.
        sources: N images, for `open_stored`.
        labels: (N,) int64.
        not_read: what the source holds beside them.
    """

    name: str
    classes: tuple[str, ...]
    sources: Sequence[Sample | ImageSource]
    labels: np.ndarray
    not_read: NotRead = field(default_factory=NotRead)


class StoredImages(Sequence[Sample | ImageSource]):
    """Samples as what evaluators open: paths, or members of files."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample | Path:  # type: ignore[override]
        sample = self._samples[index]
        return sample if sample.form or sample.size >= 0 else Path(sample.path)


def read_labelled(
    path: Path,
    classes: Sequence[str] | None = None,
    label_key: str = "label",
    split: str = "test",
    separator: str = "",
) -> LabelledImages:
    """A data set in any kind of source that names classes: ImageFolder, CIFAR's files, tables.

    Args:
        path: where it is.
        classes: names in the order of the labels; None takes those that the data set brings.
        label_key: a table's column of class names (or numbers, if `classes` is given).
        split: "test" or "train", where the source has both.
        separator: of a table of text; "" to tell it by the header.

    Raises:
        DataError: nothing there, a damaged file, a label that is no class.
        ConfigError: an unknown split.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}: expected test or train")
    twins = [name for name, count in Counter(classes or ()).items() if count > 1]
    if twins:  # not refused: the usual names of ImageNet have some
        logger.warning("classes of one name, the first gets all answers: %s", ", ".join(twins[:5]))
    found = Found()
    ask = Ask(labels=True, split=split, label_key=label_key, separator=separator)
    samples = list(read_source(path, ask, found))
    if not samples and not found.classes and path.is_dir():
        raise DataError(
            f"{shown(path)}: no folders in it; expected one a class, CIFAR's files, or a csv file"
        )
    labelled = [sample for sample in samples if sample.label is not None]
    found.not_read["images without a class"] += len(samples) - len(labelled)
    found.not_read += Counter()  # without zeros
    if not labelled:
        what = f"; {found.not_read.told}" if found.not_read else ""
        folders = f" in its {len(found.classes)} folders" if found.classes else " with a class"
        raise DataError(f"{shown(path)}: no image{folders}{what}")
    names, labels = (_brought if found.classes else _given)(path, labelled, found, classes)
    for label in sorted(set(range(len(names))) - set(labels)) if found.classes else ():
        logger.warning("class %r has no image: no mean counts it", names[label])
    if found.not_read:
        logger.warning("%s: %s", shown(path), found.not_read.told)
    name = found.name or to_name(path.stem)
    return LabelledImages(name, names, StoredImages(labelled), np.array(labels), found.not_read)


def _brought(
    path: Path, samples: list[Sample], found: Found, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], list[int]]:
    """Names and labels of a source that has an order of classes; `_` in them is a blank."""
    place = {name: label for label, name in enumerate(found.classes)}
    if classes is not None and len(classes) != len(found.classes):
        raise DataError(
            f"{len(classes)} class names for {found.name}, which has {len(found.classes)} classes"
        )
    names = tuple(classes or (name.replace("_", " ") for name in found.classes))
    return names, [place[sample.label or ""] for sample in samples]


def _given(
    path: Path, samples: list[Sample], found: Found, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], list[int]]:
    """Names and labels of a source that names, or numbers, the class of each image."""
    given = [sample.label or "" for sample in samples]
    names = tuple(classes or sorted(set(given)))
    index = {name: names.index(name) for name in names}  # of twins the first, which wins all ties
    if classes and all(label.isdigit() for label in given):
        labels = [int(label) for label in given]
    else:
        unknown = sorted(set(given) - set(index))
        if unknown:
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise DataError(
                f"{shown(path)}: labels that are no class: {', '.join(unknown[:5])}{more}"
            )
        labels = [index[label] for label in given]
    if max(labels) >= len(names):
        raise DataError(
            f"{shown(path)}: label {max(labels)}, but there are {len(names)} class names"
        )
    return names, labels
