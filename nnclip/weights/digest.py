"""What tells one model's parameters from another's."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nnclip.graph.parameters import flatten
from nnclip.weights.h5 import values_of
from nnclip.weights.model import ModelWeights, opened


def parameter_digest(weights: ModelWeights) -> str:
    """32 hexadecimal digits over the names, shapes and present values of all parameters.

    The same for every file that holds these values, whatever else the file says.

    Raises:
        CheckpointError: values have to be read, and the file was overwritten meanwhile.
    """
    if weights.digest is not None:
        return weights.digest
    names = sorted(flatten(weights.scope))
    file = next(iter(weights.waiting), None)
    if file is not None and file.digest is not None:
        return file.digest
    found = _digest((name, weights.array(name)) for name in names)
    if file is not None and sorted(file.names()) == names:
        file.digest = found
    weights.give_back()
    return found


def file_digest(path: str | Path) -> str:
    """`parameter_digest` of the tensors in an .h5, whatever model they make; one is read at a time.

    Raises:
        CheckpointError: the file is damaged or foreign.
    """
    with opened(path) as (datasets, shapes, _):
        return _digest((k, values_of(datasets[k]).reshape(shapes[k])) for k in sorted(shapes))


def _digest(tensors: Iterable[tuple[str, np.ndarray]]) -> str:
    found = hashlib.sha256()
    for name, array in tensors:
        found.update(f"{name} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array, np.float32).data)
    return found.hexdigest()[:32]
