"""Steps of a model whose text tower is XLM-R's: compiled, by NNabla, and in pieces."""

import numpy as np
import pytest

from nnclip.graph.config import BertConfig, BlockConfig, ClipConfig, VitConfig
from nnclip.graph.parameters import flatten, make_parameters
from nnclip.image import Preprocess
from nnclip.training.batch import Batch
from nnclip.training.communicator import Alone
from nnclip.training.step import ContrastiveStep, StepOptions, step_maker

CONFIG = ClipConfig(
    embed=20,
    image=VitConfig(Preprocess(16), 8, BlockConfig(64, 1, 1, 128)),
    text=BertConfig(
        vocabulary=60,
        positions=20,
        context=12,
        blocks=BlockConfig(48, 2, 3, 90, "gelu", 1e-5),
        types=1,
        pad=1,
        first_position=2,
        pooling="mean",
        projection=20,
    ),
)
ROWS = 6


@pytest.fixture
def batch(rng):
    ids = rng.integers(2, 60, (ROWS, 12), dtype=np.int32)
    for row, length in enumerate(range(12, 12 - 2 * ROWS, -2)):
        ids[row, max(length, 3) :] = 1
    return Batch(rng.normal(size=(ROWS, 3, 16, 16)).astype(np.float32), ids)


def stepped(batch, compiled, **options):
    """The loss and the gradients of one step, from the same parameters."""
    scope = make_parameters(CONFIG, seed=7)
    step = ContrastiveStep(CONFIG, scope, Alone(), step_maker(compiled), StepOptions(**options))
    loss = step(batch).loss
    return loss, {name: v.g.copy() for name, v in flatten(scope).items()}


@pytest.mark.parametrize("options", [{"micro_batch": 2}, {"recompute": True}], ids=str)
def test_compiled_and_in_pieces_is_what_nnabla_computes(batch, options):
    loss, gradients = stepped(batch, compiled=False)
    found_loss, found = stepped(batch, compiled="recompute" not in options, **options)
    assert found_loss == pytest.approx(loss, rel=1e-5)
    largest = max(np.linalg.norm(g) for g in gradients.values())
    for name, gradient in gradients.items():
        assert np.linalg.norm(found[name] - gradient) < 1e-4 * (
            np.linalg.norm(gradient) + 1e-3 * largest
        ), name
    assert np.abs(gradients["bert/token_embedding/W"]).sum(axis=1)[1] == 0  # padding learns nothing
