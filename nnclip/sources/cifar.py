"""CIFAR-10 and CIFAR-100 from the files as their authors publish them.

Nothing in a file is executed: the Python version is a pickle, read by a reader that knows arrays
and nothing else.

Axes: N images.
"""

import io
import os
import pickle
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nnclip.errors import DataError
from nnclip.files import read_regular, shown
from nnclip.json_text import brief
from nnclip.plain_pickle import PlainUnpickler, Stated
from nnclip.sources.reader import Reader
from nnclip.sources.sample import TRAINING, VALIDATION, Ask, Found, Sample

SIDE = 32
PIXELS = 3 * SIDE * SIDE
LARGEST = 1 << 28  # bytes of a file; the largest that is published has 154 MB
KEPT = 6  # unpickled files: all of a data set
_TRAIN10 = [f"data_batch_{i}" for i in range(1, 6)]


def read(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    """The images of a split, each with its class as label and caption.

    Raises:
        DataError: a file is missing, cut short or damaged, or has a label that is no class.
    """
    folder = Path(source)
    parts = {TRAINING: ("train",), VALIDATION: ("test",), "": ("train", "test")}
    splits = parts.get(ask.split, (ask.split,))
    binary = _is_binary(folder)
    names, files = (_binary_files if binary else _python_files)(folder, splits)
    for path in files:
        start, step, labels = (_binary_labels if binary else _python_labels)(path)
        if not len(labels) or labels.min() < 0 or labels.max() >= len(names):
            raise DataError(
                f"{shown(path)}: label {labels.max(initial=0)}, but there are {len(names)} class "
                "names"
            )
        for index, label in enumerate(labels):
            name = names[label]
            yield Sample(
                str(path),
                start + index * step,
                PIXELS,
                str(index),
                CIFAR.name,
                (name.replace("_", " "),),
                name,
            )
    found.classes, found.name = names, f"cifar{len(names)}"
    found.told = f"CIFAR's {' and '.join(splits)} images: captions from the names of the classes"


def load(path: str, offset: int, size: int) -> bytes:
    """An image as the bytes of a PPM file."""
    if path.endswith(".bin"):
        planes = np.frombuffer(read_regular(path, PIXELS, offset, size)[0], np.uint8)
    else:
        status = os.stat(path)
        planes = _arrays(path, status.st_mtime_ns, status.st_size)[0][offset // PIXELS]
    if planes.size != PIXELS:
        raise DataError(f"{shown(path)}: is cut short at byte {offset:,}")
    pixels = planes.reshape(3, SIDE, SIDE).transpose(1, 2, 0)
    return b"P6 %d %d 255\n" % (SIDE, SIDE) + pixels.tobytes()


def _claims(source: str, _: Ask) -> bool:
    folder = Path(source)
    return _is_binary(folder) or (
        (folder / "batches.meta").exists()
        or ((folder / "meta").exists() and (folder / "test").is_file())
    )


def _is_binary(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("batches.meta.txt", "fine_label_names.txt"))


def _binary_files(folder: Path, splits: tuple[str, ...]) -> tuple[tuple[str, ...], list[Path]]:
    """Names of the classes, and the files of some splits."""
    ten = (folder / "batches.meta.txt").exists()
    path = folder / ("batches.meta.txt" if ten else "fine_label_names.txt")
    try:
        lines = _read(path).decode().split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{shown(path)}: class names cannot be read ({error})") from error
    parts = {"train": _TRAIN10 if ten else ["train"], "test": ["test_batch" if ten else "test"]}
    files = [folder / f"{name}.bin" for split in splits for name in parts.get(split, [])]
    return tuple(line.strip() for line in lines if line.strip()), files


def _binary_labels(path: Path) -> tuple[int, int, np.ndarray]:
    """Where the first image starts, how far it is to the next, and (N,) labels."""
    head = 1 if "batch" in path.name else 2  # the coarse label of CIFAR-100 stands first
    data = np.frombuffer(_read(path), np.uint8)
    if not len(data) or len(data) % (head + PIXELS):
        raise DataError(
            f"{shown(path)}: {len(data)} bytes, expected a multiple of {head + PIXELS}; "
            "is the file complete?"
        )
    return head, head + PIXELS, data.reshape(-1, head + PIXELS)[:, head - 1].astype(np.int64)


def _python_files(folder: Path, splits: tuple[str, ...]) -> tuple[tuple[str, ...], list[Path]]:
    """As for the binary version."""
    ten = (folder / "batches.meta").exists()
    meta, key = ("batches.meta", "label_names") if ten else ("meta", "fine_label_names")
    parts = {"train": _TRAIN10 if ten else ["train"], "test": ["test_batch" if ten else "test"]}
    files = [folder / name for split in splits for name in parts.get(split, [])]
    for path in files:
        _python_labels(path)
    names = _unpickled(folder / meta).get(key)
    if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
        raise DataError(f"{shown(folder / meta)}: no names of classes `{key}` in it")
    return tuple(_text(name) for name in names), files


def _text(name: bytes | str) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def _python_labels(path: Path) -> tuple[int, int, np.ndarray]:
    """As for the binary version, counted in the array that the pickle holds."""
    status = _status(path)
    return 0, PIXELS, _arrays(str(path), status.st_mtime_ns, status.st_size)[1]


@lru_cache(maxsize=KEPT)
def _arrays(path: str, _changed: int, _size: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3072) uint8, planes red, green, blue, and (N,) int64 labels of a pickle."""
    content = _unpickled(Path(path))
    key = "labels" if "batch" in Path(path).name else "fine_labels"
    data, labels = content.get("data"), content.get(key)
    if not isinstance(data, Stated) or not isinstance(labels, list):
        raise DataError(f"{shown(path)}: no arrays `data` and `{key}` in it")
    try:
        _version, shape, _type, by_columns, pixels = data.state
        planes, numbers = np.frombuffer(pixels, np.uint8), np.array(labels, np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{shown(path)}: not one of CIFAR's files ({error})") from error
    if shape != (len(labels), PIXELS) or planes.size != len(labels) * PIXELS or by_columns:
        raise DataError(
            f"{shown(path)}: data of shape {brief(shape)} in {planes.size:,} bytes with "
            f"{len(labels)} labels, expected uint8 (N, {PIXELS}) with N labels"
        )
    return planes.reshape(shape), numbers


def _status(path: Path) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise DataError(f"{shown(path)}: {error.strerror or error}") from error


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, LARGEST)[0]
    except OSError as error:
        raise DataError(f"{shown(path)}: {error.strerror or error}") from error


class _ArrayUnpickler(PlainUnpickler):
    """Reads what CIFAR's pickles hold: numbers, texts, lists, dicts, arrays. Nothing else."""

    def __init__(self, content: bytes) -> None:
        known = {
            ("numpy.core.multiarray", "_reconstruct"): _stands,
            ("numpy._core.multiarray", "_reconstruct"): _stands,
            ("numpy", "ndarray"): Stated,
            ("numpy", "dtype"): _stands,
            ("_codecs", "encode"): self._bytes_of,
        }
        super().__init__(io.BytesIO(content), known, _stands, len(content), "bytes")
        self._left = len(content)

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for; UnpicklingError if no CIFAR file needs it."""
        if (module, name) not in self._known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR file needs")
        return self._known[module, name]

    def _bytes_of(self, text: str, encoding: str) -> bytes:
        """How Python 3 writes bytes into old pickles, for the one encoding that it uses."""
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it encodes text as {encoding}, expected latin1")
        self._left -= len(text)
        if self._left < 0:  # the same text again and again
            raise pickle.UnpicklingError("it encodes more text than it holds")
        return text.encode("latin1")


def _stands(*_: Any) -> Stated:
    """In the place of an array, whose state follows, or of its type, which its size tells."""
    return Stated()


def _unpickled(path: Path) -> dict[str, Any]:
    """The dict in one of CIFAR's pickles, its keys as str."""
    content = _read(path)
    try:
        found = _ArrayUnpickler(content).load()
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{shown(path)}: not one of CIFAR's files ({error})") from error
    if not isinstance(found, dict):
        raise DataError(f"{shown(path)}: holds {type(found).__name__}, expected CIFAR's dict")
    return {_text(key): value for key, value in found.items() if isinstance(key, bytes | str)}


CIFAR = Reader("cifar", "a folder of CIFAR's files", _claims, read, load)
