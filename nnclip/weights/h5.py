"""NNabla's .h5: one HDF5 dataset a parameter, with the attributes `index` and `need_grad`.

nnclip adds what shapes do not tell as attributes of the file itself, which NNabla's own
`load_parameters` ignores.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
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
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, expected an NNabla .h5")
    found: list[tuple[int, str, np.ndarray]] = []

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((int(item.attrs.get("index", len(found))), name, _array(path, name, item)))

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
            metadata = {
                key.removeprefix(PREFIX): _plain(value)
                for key, value in file.attrs.items()
                if key.startswith(PREFIX)
            }
    except (OSError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"{path}: found a damaged or foreign file ({error}), expected an NNabla .h5; "
            "fetch it again, or convert torch files with convert/torch_to_h5.py"
        ) from error
    if not found:
        raise CheckpointError(f"{path}: found no parameter in it, expected an NNabla .h5")
    return Weights({name: array for _, name, array in sorted(found, key=lambda f: f[0])}, metadata)


def _array(path: Path, name: str, dataset: h5py.Dataset) -> np.ndarray:
    if dataset.dtype.kind not in "fiu":
        raise CheckpointError(
            f"{path}: tensor {name}: found values of type {dataset.dtype}, expected numbers"
        )
    array = np.asarray(dataset[()])  # h5py's own astype() reads five times slower
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array


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
    except OSError as error:
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
