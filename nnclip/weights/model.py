"""From an .h5 to the parameters of a model and back; strict about names and shapes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nnclip.errors import CheckpointError
from nnclip.forks import NNABLA_LOCK
from nnclip.graph.config import ClipConfig, config_from_shapes, metadata_of
from nnclip.graph.convolution import is_statistic
from nnclip.graph.losses import scalar_names
from nnclip.graph.parameters import Scope, expected_shapes, flatten, scope_of
from nnclip.image.preprocess import PREPROCESS_KEYS
from nnclip.nnabla import nn
from nnclip.weights.h5 import is_frozen, open_h5, read_into, write_h5
from nnclip.weights.mapped import MappedArrays

SHOWN = 5  # problems that one error message lists


@dataclass(frozen=True)
class ModelWeights:
    """A model's configuration, its parameters as NNabla Variables, and its file's metadata.

    Attributes:
        waiting: At most one mapped file whose arrays the Variables have not read yet. While it is
            there, go through the methods: the Variables of `scope` hold nothing.
    """

    config: ClipConfig
    scope: Scope
    metadata: dict[str, Any]
    waiting: list[MappedArrays] = field(default_factory=list)

    @property
    def digest(self) -> str | None:
        """The digest of the parameters, where they are not there and somebody told it."""
        return None

    def variables(self) -> dict[str, nn.Variable]:
        """Published name -> Variable, the very ones that the graph uses, with their values.

        Raises:
            CheckpointError: the values still had to be read, and the file has changed, or they are
                not finite.
        """
        variables = flatten(self.scope)
        with NNABLA_LOCK:
            for file in self.waiting:
                for name in file.names():
                    variables[name].d = file.array(name).astype(np.float32, copy=False)
            self.waiting.clear()
        return variables

    def unread(self) -> Mapping[nn.Variable, np.ndarray]:
        """The values of Variables that have not read them yet; CheckpointError as above."""
        names = {v: name for name, v in flatten(self.scope).items()}
        with NNABLA_LOCK:
            return _Unread(names, self.waiting[0]) if self.waiting else {}

    def array(self, name: str) -> np.ndarray:
        """The values of one parameter, not to be written to; CheckpointError as above."""
        with NNABLA_LOCK:
            for file in self.waiting:
                if name in file.names():
                    return file.array(name)
            return flatten(self.scope)[name].d

    def give_back(self) -> None:
        """Release the memory that reading a mapped file has filled."""
        with NNABLA_LOCK:
            for file in self.waiting:
                file.give_back()


class _Unread(Mapping[nn.Variable, np.ndarray]):
    """Variable -> its values in a mapped file, looked at when they are first asked for."""

    def __init__(self, names: dict[nn.Variable, str], file: MappedArrays) -> None:
        self._names, self._file = names, file
        self._found: dict[nn.Variable, np.ndarray] = {}

    def __getitem__(self, variable: nn.Variable) -> np.ndarray:
        if variable not in self._found:
            self._found[variable] = self._file.array(self._names[variable])
        return self._found[variable]

    def __contains__(self, variable: object) -> bool:
        return variable in self._names

    def __iter__(self) -> Iterator[nn.Variable]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def load_model(path: str | Path, *, mapped: bool = False) -> ModelWeights:
    """Read a model from Sony's published .h5 files or nnclip's own.

    Args:
        path: the file.
        mapped: leave the values in the file, mapped, until `ModelWeights.variables` is asked.

    Returns: the model. What nnclip's own file says must not be trained has `need_grad` off; in a
        file without nnclip's metadata the flags are what some converter's Variables happened to
        be, and mean nothing.

    Raises:
        CheckpointError: the file is damaged or foreign, or a tensor is missing, left over, has the
            wrong shape or holds NaN (of a mapped file, this shows when the tensor is first used);
            names file, tensor, found and expected.
    """
    with opened(path) as (datasets, shapes, metadata):
        if side := metadata.get("tower"):
            raise CheckpointError(
                f"found the {side} tower alone, expected a whole model; join it with another one: "
                "nnclip join IMAGE.h5 TEXT.h5 -o MODEL.h5"
            )
        told = told_scalars(metadata)
        shapes |= dict.fromkeys(told, ())
        config = config_from_shapes(shapes, metadata)
        check_names_and_shapes(shapes, expected_shapes(config))
        waiting = [MappedArrays(path)] if mapped else []
        variables = read_variables(datasets, shapes, metadata, *waiting)
        for name, scalar in told.items():
            variables[name] = nn.Variable.from_numpy_array(scalar, need_grad=True)
    return ModelWeights(config, scope_of(variables), metadata, waiting)


def told_scalars(metadata: dict[str, Any]) -> dict[str, np.ndarray]:
    """Take out of a model's metadata the scalars that nnclip once wrote there, shape () each."""
    names = scalar_names() & metadata.keys()
    return {name: np.array(metadata.pop(name), np.float32).reshape(()) for name in names}


@contextmanager
def opened(
    path: str | Path,
) -> Iterator[tuple[dict[str, h5py.Dataset], dict[str, tuple[int, ...]], dict[str, Any]]]:
    """Datasets of a file by name, their shapes, and metadata; CheckpointErrors inside name it."""
    try:
        with open_h5(path) as (datasets, metadata):
            shapes = {k: d.shape for k, d in datasets.items()}
            # NNabla files may keep a scalar as one of shape (1,)
            shapes |= {name: () for name in scalar_names() if shapes.get(name) == (1,)}
            yield datasets, shapes, metadata
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path}: {error}") from error


def read_variables(
    datasets: Mapping[str, h5py.Dataset],
    shapes: Mapping[str, tuple[int, ...]],
    metadata: Mapping[str, Any],
    mapped: MappedArrays | None = None,
) -> dict[str, nn.Variable]:
    """Variables of these datasets with their values, or without, where `mapped` holds them."""
    frozen = {k for k, d in datasets.items() if is_statistic(k) or (metadata and is_frozen(d))}
    with NNABLA_LOCK:
        variables = {k: nn.Variable(shapes[k], need_grad=k not in frozen) for k in datasets}
    for name, dataset in datasets.items():
        if mapped is not None:
            mapped.add(name, shapes[name], dataset)
            continue
        with NNABLA_LOCK:
            values = variables[name].d
        read_into(values, dataset)
    return variables


def check_names_and_shapes(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """CheckpointError that names every tensor which is missing, left over or of the wrong shape."""
    problems = [
        f"tensor {k}: missing, expected shape {v}" for k, v in expected.items() if k not in found
    ]
    problems += [
        f"tensor {k}: found with shape {v}, expected no such tensor"
        for k, v in found.items()
        if k not in expected
    ]
    problems += [
        f"tensor {k}: found shape {found[k]}, expected {v}"
        for k, v in expected.items()
        if k in found and found[k] != v
    ]
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise CheckpointError("; ".join(problems[:SHOWN]) + more)


def save_model(
    path: str | Path,
    model: ModelWeights,
    *,
    half: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a model so that `load_model`, and NNabla itself, read it.

    Args:
        path: where to; written whole or not at all.
        model: what to write.
        half: store float16.
        extra: metadata to add to the model's own.
    """
    kept = {k: v for k, v in model.metadata.items() if k not in PREPROCESS_KEYS}
    metadata = {**kept, **metadata_of(model.config), **(extra or {})}
    write_variables(path, model.variables(), metadata, half)


def write_variables(
    path: str | Path, variables: Mapping[str, nn.Variable], metadata: Mapping[str, Any], half: bool
) -> None:
    """Write parameters with their values, and which of them are frozen."""
    frozen = frozenset(name for name, v in variables.items() if not v.need_grad)
    write_h5(path, {k: v.d for k, v in variables.items()}, metadata, half=half, frozen=frozen)
