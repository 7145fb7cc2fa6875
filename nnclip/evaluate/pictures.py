"""Pictures with classes: folders, CIFAR's files, tables."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnclip.errors import ConfigError, DataError
from nnclip.evaluate.cifar import LabelledPictures, read_cifar_binary, read_cifar_python
from nnclip.image import ImageSource, picture_files, picture_root, read_rows

logger = logging.getLogger(__name__)


def read_labelled(
    path: Path, classes: Sequence[str] | None = None, label_key: str = "label", split: str = "test"
) -> LabelledPictures:
    """A data set, told by what `path` is: a table (a file), CIFAR's folder, or an ImageFolder.

    Args:
        path: where it is.
        classes: names in the order of the labels; None takes those that the data set brings.
        label_key: a table's column of class names (or numbers, if `classes` is given).
        split: "test" or "train", of CIFAR.

    Raises:
        DataError: nothing there, a damaged file, a label that is no class.
        ConfigError: an unknown split.
    """
    if split not in ("test", "train"):
        raise ConfigError(f"unknown split {split!r}: expected test or train")
    twins = [name for name, count in Counter(classes or ()).items() if count > 1]
    if twins:  # not refused: the usual names of ImageNet have some
        logger.warning("classes of one name, the first gets all answers: %s", ", ".join(twins[:5]))
    if path.is_file():
        return _read_table(path, classes, label_key)
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder")
    for read in (read_cifar_binary, read_cifar_python):
        found = read(path, split)
        if found:
            return _renamed(found, classes)
    return _read_folder(path, classes)


def _renamed(found: LabelledPictures, classes: Sequence[str] | None) -> LabelledPictures:
    if classes is None:
        return found
    if len(classes) != len(found.classes):
        raise DataError(
            f"{len(classes)} class names for {found.name}, which has {len(found.classes)} classes"
        )
    return LabelledPictures(found.name, tuple(classes), found.sources, found.labels)


def _read_folder(path: Path, classes: Sequence[str] | None) -> LabelledPictures:
    """One folder a class, sorted by name; `_` in a folder's name is a blank in the class's."""
    folders = sorted(child for child in path.iterdir() if child.is_dir())
    if not folders:
        raise DataError(
            f"{path}: no folders in it; expected one a class, CIFAR's files, or a csv file"
        )
    sources: list[ImageSource] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        files = picture_files(folder)
        sources += files
        labels += [label] * len(files)
        if not files:
            logger.warning("class %r has no picture: no means count it", folder.name)
    if not sources:
        raise DataError(f"{path}: no picture in its {len(folders)} folders")
    names = tuple(folder.name.replace("_", " ") for folder in folders)
    return _renamed(LabelledPictures(path.name, names, sources, np.array(labels)), classes)


def _read_table(path: Path, classes: Sequence[str] | None, label_key: str) -> LabelledPictures:
    rows = read_rows(path, ("filepath", label_key))
    given = [row[label_key].strip() for row in rows]
    names = tuple(classes or sorted(set(given)))
    index = {name: names.index(name) for name in names}  # of twins the first, which wins all ties
    if classes and all(label.isdigit() for label in given):
        labels = [int(label) for label in given]
    else:
        unknown = sorted(set(given) - set(index))
        if unknown:
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise DataError(f"{path}: labels that are no class: {', '.join(unknown[:5])}{more}")
        labels = [index[label] for label in given]
    if max(labels) >= len(names):
        raise DataError(f"{path}: label {max(labels)}, but there are {len(names)} class names")
    root = picture_root(path, rows[0]["filepath"])
    sources: list[ImageSource] = [root / row["filepath"] for row in rows]
    return LabelledPictures(path.stem, names, sources, np.array(labels))
