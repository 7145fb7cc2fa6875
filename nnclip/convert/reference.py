"""All that a dialect's own model code makes of inputs: what graphs are held against.

Axes: N batch, R resolution, L tokens, E embedding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from nnclip.convert.answers import Answers
from nnclip.convert.dialect import Dialect
from nnclip.convert.names import to_published
from nnclip.convert.tensors import of_array
from nnclip.graph.config import ClipConfig


def answers(
    dialect: Dialect,
    model: torch.nn.Module,
    config: ClipConfig,
    images_N3RR: np.ndarray,
    ids_NL: np.ndarray,
) -> Answers:
    """What `model`, a whole one in its own code, makes of N images and their N texts."""
    code = dialect.code
    assert code.logits is not None
    images, ids = torch.from_numpy(images_N3RR), torch.from_numpy(ids_NL.astype(np.int64))
    with torch.no_grad(), _hidden_states(dialect, model) as hidden:
        features = code.features(model, config, {"image": images_N3RR, "text": ids_NL})
    logits_NN = code.logits(model, images, ids)
    loss = _loss(model, images, ids, logits_NN)
    table = dialect.names.writing((config.image, config.text))
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {
        n: of_array(p.grad.numpy()) for n, p in model.named_parameters() if p.grad is not None
    }
    return Answers(
        hidden,
        {side: found.numpy() for side, found in features.items()},
        logits_NN.detach().numpy(),
        loss.item(),
        {name: g.read() for name, g in to_published(gradients, table).items()},
    )


def _loss(
    model: torch.nn.Module, images: torch.Tensor, ids: torch.Tensor, logits_NN: torch.Tensor
) -> torch.Tensor:
    """The loss that the model was made for, shape (); SigLIP's where there is a bias."""
    code: Any = model
    if getattr(model, "logit_bias", None) is not None:
        from open_clip.loss import SigLipLoss

        return SigLipLoss()(*code(images, ids))
    own = torch.arange(len(logits_NN))
    return (cross_entropy(logits_NN, own) + cross_entropy(logits_NN.T, own)) / 2


@contextmanager
def _hidden_states(
    dialect: Dialect, model: torch.nn.Module
) -> Iterator[dict[str, list[np.ndarray]]]:
    """What the blocks of both towers give while this is open."""
    code = dialect.code
    assert code.blocks is not None
    hidden: dict[str, list[np.ndarray]] = {"image": [], "text": []}

    def keep(tower: str, output: Any) -> None:
        x = (output[0] if isinstance(output, tuple) else output).detach()
        turned = code.tokens_first and x.ndim == 3
        hidden[tower].append((x.transpose(0, 1) if turned else x).numpy())

    hooks = [
        block.register_forward_hook(lambda _, __, output, tower=tower: keep(tower, output))
        for tower, blocks in code.blocks(model).items()
        for block in blocks
    ]
    try:
        yield hidden
    finally:
        for hook in hooks:
            hook.remove()
