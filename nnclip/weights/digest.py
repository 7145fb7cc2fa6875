"""What tells one model's parameters from another's."""

import hashlib

import numpy as np

from nnclip.graph.parameters import flatten
from nnclip.weights.model import ModelWeights


def parameter_digest(weights: ModelWeights) -> str:
    """32 hexadecimal digits over the names, shapes and present values of all parameters.

    The same for every file that holds these values, whatever else the file says.

    Raises:
        CheckpointError: values have to be read, and the file was overwritten meanwhile.
    """
    found = hashlib.sha256()
    for name in sorted(flatten(weights.scope)):
        array = weights.array(name)
        found.update(f"{name} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array, np.float32).data)
    weights.give_back()
    return found.hexdigest()[:32]
