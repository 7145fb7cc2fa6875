"""Gradients of a converted model beside those of the torch model that it came from."""

from __future__ import annotations

from typing import Any

import nnabla as nn
import numpy as np

from nnclip.convert.encoders import open_checkpoint
from nnclip.convert.names import to_published
from nnclip.convert.source import DIALECTS
from nnclip.convert.tensors import of_array
from nnclip.model import CLIP


def squares(mine: CLIP, pixels: np.ndarray, ids: np.ndarray) -> dict[str, nn.Variable]:
    """The parameters of a model, with the gradients of the sum of all squared features."""
    total = 0
    for variable in (
        mine.encode_image(nn.Variable.from_numpy_array(pixels)),
        mine.encode_text(nn.Variable.from_numpy_array(ids)),
    ):
        total = total + nn.functions.sum(variable**2)
    parameters = mine.parameters()
    for variable in parameters.values():
        variable.g = 0
    total.forward()
    total.backward()
    return parameters


def assert_same(
    parameters: dict[str, nn.Variable], theirs: Any, folder: Any, dialect: str, whole: bool = True
) -> None:
    """Fail with the name of a parameter whose gradient differs by more than 1e-4 of its norm.

    Args:
        parameters: with their gradients.
        theirs: the torch model, with its gradients.
        folder: its checkpoint.
        dialect: whose names it has.
        whole: whether every parameter must have been compared.
    """
    source = open_checkpoint(folder)
    table = DIALECTS[dialect].names.reading(source)

    named = dict(theirs.named_parameters())
    # A model of transformers may have other names in memory: these have the same values.
    saved = {tensor.read().tobytes(): name for name, tensor in source.tensors.items()}
    names = {
        k: k if k in source.tensors else saved[p.detach().numpy().tobytes()]
        for k, p in named.items()
    }

    def published(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        own = {names[k]: of_array(v) for k, v in tensors.items()}
        return {name: t.read() for name, t in to_published(own, table).items()}

    wanted = published({k: p.grad.numpy() for k, p in named.items() if p.grad is not None})
    kept = published({k: p.detach().numpy() for k, p in named.items()})
    largest = max(map(np.linalg.norm, wanted.values()))
    for name, gradient in wanted.items():
        if name not in parameters or not np.array_equal(kept[name], parameters[name].d):
            continue  # a norm or a scale was folded into it: it is not torch's parameter
        difference = np.linalg.norm(parameters[name].g - gradient)
        # 1e-6: the gradient of a bias of keys is zero but for rounding
        assert difference < 1e-4 * np.linalg.norm(gradient) + 1e-6 * largest, name
    if whole:
        left = parameters.keys() - wanted.keys() - {"logit_scale", "logit_bias"}
        assert not left, sorted(left)
