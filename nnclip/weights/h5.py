"""NNabla's .h5: one HDF5 dataset a parameter, with the attributes `index` and `need_grad`.

nnclip adds what shapes do not tell as attributes of the file itself, and a check sum of its values
to each dataset; NNabla's own `load_parameters` ignores both. HDF5 keeps check sums of all else in
the form of file that is written here. Files that NNabla itself wrote have none.
"""

import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nnclip.errors import CheckpointError
from nnclip.json_text import brief, parse_json
from nnclip.weights.hdf5 import attribute, name_of, open_datasets

PREFIX = "nnclip."  # of the file attributes that hold metadata
SUM = "crc32"  # attribute of a dataset, and metadata: text -> its sum, for long texts
LONG_TEXT = 2048  # bytes: HDF5 keeps larger attributes apart, without a check sum


@dataclass(frozen=True)
class Weights:
    """Named arrays and what was said about them.

    Attributes:
        arrays: parameter name -> array; floats are float32, however the file stores them.
        metadata: what shapes do not tell, see `graph.config.metadata_of`.
    """

    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any] = field(default_factory=dict)


def read_h5(path: str | Path) -> Weights:
    """All datasets of `path`, ordered as they were written; float16 is widened.

    Raises:
        CheckpointError: no such file, not HDF5, truncated, or a dataset that holds no numbers.
    """
    with open_h5(path) as (datasets, metadata):
        return Weights({name: _widened(values_of(d)) for name, d in datasets.items()}, metadata)


@contextmanager
def open_h5(path: str | Path) -> Iterator[tuple[dict[str, h5py.Dataset], dict[str, Any]]]:
    """The datasets of `path` by name, ordered as they were written and not yet read, and metadata.

    Errors while the block reads them become CheckpointErrors too, those of `read_h5`.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected an NNabla .h5")
    try:
        with open_datasets(path) as (file, found):
            if not found:
                raise CheckpointError("found no parameter in it, expected an NNabla .h5")
            places = {k: _index(d, len(found)) for k, d in found.items()}
            ordered = sorted(found, key=places.__getitem__)
            yield {k: found[k] for k in ordered}, _metadata(file)
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path}: {error}") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: found a damaged or foreign file ({error}), expected an NNabla .h5; "
            "fetch it again, or convert torch files with convert/torch_to_h5.py"
        ) from error


def _index(dataset: h5py.Dataset, default: int) -> int:
    found = attribute(dataset, "index", default)
    if not isinstance(found, int):
        raise TypeError(f"{name_of(dataset)}: found the index {brief(found)}, expected an integer")
    return found


def values_of(dataset: h5py.Dataset) -> np.ndarray:
    """The values of a dataset as they are stored; CheckpointError if they are not as written."""
    array = np.asarray(dataset[()])
    check_sum(name_of(dataset), array, sum_of(dataset))
    return array


def read_into(array: np.ndarray, dataset: h5py.Dataset) -> None:
    """Fill a C-contiguous float32 array from a dataset of the same size.

    Raises:
        CheckpointError: the values are not finite, or not those that were written.
    """
    name = name_of(dataset)
    if dataset.dtype == array.dtype and dataset.shape == array.shape and dataset.shape:
        dataset.read_direct(array)  # touches each page of memory once
        check_finite(name, array)
        check_sum(name, array, sum_of(dataset))
    else:
        array[...] = values_of(dataset).reshape(array.shape)
        check_finite(name, array)


def sum_of(dataset: h5py.Dataset) -> int | None:
    """The check sum that a dataset was written with; None where there is none."""
    return attribute(dataset, SUM)


def check_sum(name: str, array: np.ndarray, expected: int | None) -> None:
    """CheckpointError unless stored values have the check sum; 0.25 s for 600 MB."""
    if expected is not None and zlib.crc32(np.ascontiguousarray(array).data) != expected:
        raise sum_error(name)


def sum_error(name: str) -> CheckpointError:
    """What to raise where stored values have another check sum."""
    return CheckpointError(
        f"tensor {name}: found other values than were written; fetch or make the "
        f"file again (if you changed them on purpose, delete the attribute {SUM} of the tensor)"
    )


def is_frozen(dataset: h5py.Dataset) -> bool:
    """Whether the file says that a trainer must not change this parameter."""
    return not attribute(dataset, "need_grad", True)


def check_finite(name: str, array: np.ndarray) -> None:
    """CheckpointError if a tensor holds NaN or infinity; 0.1 s for 600 MB, most of it reading."""
    values = array.reshape(-1)
    with np.errstate(all="ignore"):  # squares may overflow: only then all are looked at
        suspicious = not np.isfinite(np.dot(values, values))
    if suspicious and not np.isfinite(values).all():
        raise CheckpointError(
            f"tensor {name}: found NaN or infinity, expected numbers; if a training wrote this, go "
            "back to an earlier checkpoint, else fetch or convert the file again"
        )


def _widened(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array


def _metadata(file: h5py.File) -> dict[str, Any]:
    names = [k.removeprefix(PREFIX) for k in file.attrs if k.startswith(PREFIX)]
    found = {k: attribute(file, PREFIX + k) for k in names}
    for name, expected in dict(parse_json(found.pop(SUM, "{}"))).items():
        if zlib.crc32(str(found.get(name, "")).encode()) != expected:
            raise CheckpointError(
                f"metadata {brief(name)}: found another text than was written; fetch or make the "
                "file again"
            )
    return found


def _put_metadata(file: h5py.File, metadata: Mapping[str, Any]) -> None:
    sums = {}
    for key, value in metadata.items():
        if isinstance(value, str):
            if len(value.encode()) > LONG_TEXT:
                sums[key] = zlib.crc32(value.encode())
            _put_text(file, key, value)
        elif isinstance(value, list | tuple) and value and isinstance(value[0], str):
            file.attrs[PREFIX + key] = np.array([text.encode() for text in value])
        else:
            file.attrs[PREFIX + key] = value
    if sums:
        _put_text(file, SUM, json.dumps(sums))


def _put_text(file: h5py.File, key: str, text: str) -> None:
    """In fixed length, which lies under HDF5's own check sums."""
    kind = h5py.string_dtype("utf-8", max(len(text.encode()), 1))
    file.attrs.create(PREFIX + key, text.encode(), dtype=kind)


def write_h5(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, Any] | None = None,
    *,
    half: bool = False,
    frozen: frozenset[str] = frozenset(),
) -> None:
    """Write named arrays so that NNabla and nnclip read them; the file appears whole or not at all.

    Args:
        path: where to.
        arrays: parameter name -> array.
        metadata: what shapes do not tell.
        half: store floats as float16, which halves the file.
        frozen: names that a trainer must not change (`need_grad` off).

    Raises:
        CheckpointError: the file cannot be written.
    """

    def fill(temporary: str) -> None:
        # `latest` lets an attribute be larger than 64 KiB: a vocabulary is.
        with h5py.File(temporary, "w", libver="latest") as file:
            for index, (name, array) in enumerate(arrays.items()):
                narrow = half and np.issubdtype(array.dtype, np.floating)
                stored = np.ascontiguousarray(_narrowed(name, array) if narrow else array)
                dataset = file.create_dataset(name, data=stored)
                dataset.attrs[SUM] = zlib.crc32(stored.data)
                dataset.attrs["index"] = index
                dataset.attrs["need_grad"] = name not in frozen
            _put_metadata(file, metadata or {})

    try:
        write_whole(Path(path), fill)
    except (OSError, RuntimeError) as error:  # h5py's close() raises the latter on a full disk
        raise CheckpointError(f"{path}: cannot be written ({error})") from error


def _narrowed(name: str, array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float16)
    if np.isinf(narrow).any() and np.isfinite(array).all():
        raise CheckpointError(
            f"tensor {name}: found values up to {np.abs(array).max():.6g}, expected at most 65504, "
            "what float16 holds; store float32"
        )
    return narrow


def write_whole(path: Path, fill: Callable[[str], object]) -> None:
    """Let `fill` write a temporary file beside `path`, then put it in place at once.

    Whatever happens, `path` holds its old content or the new one, never a part of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        fill(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files that only their owner reads
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, tree: Any) -> None:
    """Write a tree as JSON, whole or not at all; OSError if that fails."""
    write_text(path, json.dumps(tree, indent=1, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; OSError if that fails."""
    content = text.encode("utf-8")

    def fill(temporary: str) -> None:
        Path(temporary).write_bytes(content)

    write_whole(path, fill)
