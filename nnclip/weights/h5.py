"""NNabla's .h5: one HDF5 dataset a parameter, with the attributes `index` and `need_grad`.

nnclip adds what shapes do not tell as attributes of the file itself, which NNabla's own
`load_parameters` ignores.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nnclip.errors import CheckpointError

PREFIX = "nnclip."  # of the file attributes that hold metadata


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
        return Weights({name: _widened(d[()]) for name, d in datasets.items()}, metadata)


@contextmanager
def open_h5(path: str | Path) -> Iterator[tuple[dict[str, h5py.Dataset], dict[str, Any]]]:
    """The datasets of `path` by name, ordered as they were written and not yet read, and metadata.

    Errors while the block reads them become CheckpointErrors too, those of `read_h5`.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected an NNabla .h5")
    try:
        with h5py.File(path, "r") as file:
            found: list[h5py.Dataset] = []
            file.visititems(lambda _, item: _keep(item, found))
            if not found:
                raise CheckpointError(f"{path}: found no parameter in it, expected an NNabla .h5")
            found.sort(key=lambda d: int(d.attrs.get("index", len(found))))
            yield {d.name.strip("/"): d for d in found}, _metadata(file)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path}: found a damaged or foreign file ({error}), expected an NNabla .h5; "
            "fetch it again, or convert torch files with convert/torch_to_h5.py"
        ) from error


def _keep(item: h5py.Dataset | h5py.Group, found: list[h5py.Dataset]) -> None:
    if not isinstance(item, h5py.Dataset):
        return
    if item.dtype.kind not in "fiu":
        raise CheckpointError(
            f"{item.file.filename}: tensor {item.name}: found values of type {item.dtype}, "
            "expected numbers"
        )
    found.append(item)


def read_into(array: np.ndarray, dataset: h5py.Dataset) -> None:
    """Fill a C-contiguous float32 array from a dataset of the same size."""
    if dataset.dtype == array.dtype and dataset.shape == array.shape and dataset.shape:
        dataset.read_direct(array)  # touches each page of memory once
    else:
        array[...] = dataset[()].reshape(array.shape)


def is_frozen(dataset: h5py.Dataset) -> bool:
    """Whether the file says that a trainer must not change this parameter."""
    return not dataset.attrs.get("need_grad", True)


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
    return {
        k.removeprefix(PREFIX): _plain(v) for k, v in file.attrs.items() if k.startswith(PREFIX)
    }


def _plain(value: Any) -> Any:
    """An HDF5 attribute as a Python value."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


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
                dataset = file.create_dataset(
                    name, data=array.astype(np.float16) if narrow else array
                )
                dataset.attrs["index"] = index
                dataset.attrs["need_grad"] = name not in frozen
            for key, value in (metadata or {}).items():
                file.attrs[PREFIX + key] = value

    try:
        write_whole(Path(path), fill)
    except (OSError, RuntimeError) as error:  # h5py's close() raises the latter on a full disk
        raise CheckpointError(f"{path}: cannot be written ({error})") from error


def write_whole(path: Path, fill: Callable[[str], None]) -> None:
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
