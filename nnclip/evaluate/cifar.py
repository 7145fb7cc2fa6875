"""CIFAR-10 and CIFAR-100 from the files as their authors publish them.

Nothing in a file is executed: the Python version is a pickle, read by a reader that knows arrays
and nothing else.
"""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nnclip.errors import DataError
from nnclip.image import ImageSource

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True)
class LabelledPictures:
    """A data set for classification.

    Args:
        name: of the data set.
        classes: names, in the order of the labels.
        sources: N paths or pictures.
        labels: (N,) int64.
    """

    name: str
    classes: tuple[str, ...]
    sources: Sequence[ImageSource]
    labels: np.ndarray


class ArrayPictures(Sequence[ImageSource]):
    """(N, 3072) uint8, CIFAR's planes red, green, blue, as a sequence of pictures."""

    def __init__(self, planes: np.ndarray) -> None:
        self._planes = planes

    def __len__(self) -> int:
        return len(self._planes)

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override]
        return Image.fromarray(self._planes[index].reshape(3, SIDE, SIDE).transpose(1, 2, 0))


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: CIFAR's class names cannot be read ({error})") from error
    return tuple(line.strip().replace("_", " ") for line in lines if line.strip())


def read_cifar_binary(path: Path, split: str) -> LabelledPictures | None:
    """CIFAR-10 or -100 in its binary version; None if `path` holds no such files.

    Raises:
        DataError: a file is missing, cut short, or has a label that is no class.
    """
    if (path / "batches.meta.txt").exists():
        names, head, label_at = _read_names(path / "batches.meta.txt"), 1, 0
        files = (
            ["test_batch.bin"] if split == "test" else [f"data_batch_{i}.bin" for i in range(1, 6)]
        )
    elif (path / "fine_label_names.txt").exists():
        names, head, label_at = _read_names(path / "fine_label_names.txt"), 2, 1
        files = [f"{split}.bin"]
    else:
        return None
    records = []
    for file in files:
        try:
            data = np.fromfile(path / file, np.uint8)
        except OSError as error:
            raise DataError(f"{path / file}: {error.strerror or error}") from error
        if not len(data) or len(data) % (head + PIXELS):
            raise DataError(
                f"{path / file}: {len(data)} bytes, expected a multiple of {head + PIXELS}; "
                "is the file complete?"
            )
        records.append(data.reshape(-1, head + PIXELS))
    table = np.concatenate(records)
    return _cifar(names, table[:, head:], table[:, label_at].astype(np.int64), str(path))


def _cifar(
    names: tuple[str, ...], planes: np.ndarray, labels: np.ndarray, where: str
) -> LabelledPictures:
    if planes.dtype != np.uint8 or planes.shape != (len(labels), PIXELS) or not len(labels):
        raise DataError(
            f"{where}: data of {planes.dtype} {planes.shape} with {len(labels)} labels, expected "
            f"uint8 (N, {PIXELS}) with N labels"
        )
    if labels.min() < 0 or labels.max() >= len(names):
        raise DataError(f"{where}: label {labels.max()}, but there are {len(names)} class names")
    return LabelledPictures(f"cifar{len(names)}", names, ArrayPictures(planes), labels)


def _bytes_of(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into old pickles, for the one encoding that it uses."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding}, expected latin1")
    return text.encode("latin1")


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): np.core.multiarray._reconstruct,  # type: ignore[attr-defined]
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _bytes_of,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads what CIFAR's pickles hold: numbers, texts, lists, dicts, arrays. Nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR file needs")
        return _ALLOWED[module, name]


def _unpickled(path: Path) -> dict[str, Any]:
    """The dict in one of CIFAR's pickles, its keys as str."""
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="bytes").load()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{path}: not one of CIFAR's files ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds {type(content).__name__}, expected CIFAR's dict")
    return {key.decode() if isinstance(key, bytes) else str(key): content[key] for key in content}


def read_cifar_python(path: Path, split: str) -> LabelledPictures | None:
    """CIFAR-10 or -100 in its Python version; None if `path` holds no such files.

    Raises:
        DataError: a file is missing, damaged, or asks for anything that CIFAR has not.
    """
    if (path / "batches.meta").exists():
        meta, names_key, label_key = path / "batches.meta", "label_names", "labels"
        files = ["test_batch"] if split == "test" else [f"data_batch_{i}" for i in range(1, 6)]
    elif (path / "meta").exists() and (path / "test").is_file():
        meta, names_key, label_key, files = (
            path / "meta",
            "fine_label_names",
            "fine_labels",
            [split],
        )
    else:
        return None
    parts = list(_cifar_parts(path, files, label_key))
    names = _unpickled(meta).get(names_key, [])
    texts = tuple((n.decode() if isinstance(n, bytes) else str(n)).replace("_", " ") for n in names)
    planes, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _cifar(texts, planes, labels, str(path))


def _cifar_parts(
    path: Path, files: list[str], label_key: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for file in files:
        content = _unpickled(path / file)
        planes, labels = content.get("data"), content.get(label_key)
        if not isinstance(planes, np.ndarray) or not isinstance(labels, list):
            raise DataError(f"{path / file}: no arrays `data` and `{label_key}` in it")
        yield planes, np.array(labels, np.int64)
