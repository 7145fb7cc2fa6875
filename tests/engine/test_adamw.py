"""AdamW against torch's, on pieces of every size."""

import nnabla as nn
import numpy as np
import pytest

from nnclip.engine import adamw
from nnclip.engine.adamw import PIECES, AdamW
from nnclip.errors import CheckpointError, DataError

SHAPES = {
    "large": (3, PIECES[0] // 2 + 12345),
    "small": (5, 7),
    "gain": (768,),
    "number": (),
}


def parameters(seed=0):
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in SHAPES.items():
        made[name] = nn.Variable(shape, need_grad=True)
        made[name].d = rng.normal(size=shape)
    return made


def set_gradients(made, rng):
    for v in made.values():
        v.g = rng.normal(size=v.shape)


@pytest.mark.torch
@pytest.mark.parametrize("compiled", [True, False])
def test_equals_torch(compiled, monkeypatch):
    import torch

    monkeypatch.setattr(adamw, "openvino_available", lambda: compiled)
    made = parameters()
    twins = {n: torch.nn.Parameter(torch.tensor(v.d.astype(np.float32))) for n, v in made.items()}
    groups = [
        {"params": [twins["large"], twins["small"]], "weight_decay": 0.2},
        {"params": [twins["gain"], twins["number"]], "weight_decay": 0.0},
    ]
    theirs = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6)
    ours = AdamW(made, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
    rng = np.random.default_rng(1)
    for lr in (1e-2, 3e-2, 1e-3):
        set_gradients(made, rng)
        for name, v in made.items():
            twins[name].grad = torch.tensor(v.g.astype(np.float32)) * 0.5
        for group in theirs.param_groups:
            group["lr"] = lr
        theirs.step()
        ours.update(lr, scale=0.5)
    for name, v in made.items():
        np.testing.assert_allclose(v.d, twins[name].detach().numpy(), rtol=1e-5, atol=2e-6)


def test_frozen_parameters_stay():
    made = parameters()
    made["small"].need_grad = False
    before = made["small"].d.copy()
    optimiser = AdamW(made)
    set_gradients(made, np.random.default_rng(0))
    optimiser.update(0.1)
    np.testing.assert_array_equal(made["small"].d, before)
    assert "small/first" not in optimiser.state()


def test_goes_on_from_its_state_as_if_never_stopped():
    made, again = parameters(), parameters()
    one = AdamW(made)
    rng = np.random.default_rng(3)
    set_gradients(made, rng)
    one.update(1e-2)
    saved = {n: a.copy() for n, a in one.state().items()}
    for name, v in made.items():
        again[name].d = v.d
    two = AdamW(again)
    two.load_state(saved)
    set_gradients(made, rng)
    for name, v in made.items():
        again[name].g = v.g
    one.update(1e-2)
    two.update(1e-2)
    for name in made:
        np.testing.assert_array_equal(made[name].d, again[name].d)


def test_follows_memory_that_nnabla_moved():
    made = parameters()
    optimiser = AdamW(made)
    set_gradients(made, np.random.default_rng(0))
    optimiser.update(1e-2)
    moved = nn.NdArray.from_numpy_array(np.zeros(SHAPES["large"], np.float32))
    made["large"].data = moved
    optimiser.update(1e-2)
    assert np.abs(moved.data).min() > 0


def test_gradient_norm_is_over_all_parameters():
    made = parameters()
    set_gradients(made, np.random.default_rng(0))
    wanted = np.sqrt(sum((v.g.astype(np.float64) ** 2).sum() for v in made.values()))
    assert AdamW(made).gradient_norm() == pytest.approx(wanted, rel=1e-5)


def test_bad_input_changes_nothing():
    made = parameters()
    optimiser = AdamW(made)
    before = {n: v.d.copy() for n, v in made.items()}
    for rates in [(float("nan"), 1.0), (0.1, float("inf"))]:
        with pytest.raises(DataError, match="finite"):
            optimiser.update(rates[0], scale=rates[1])
    state = {n: a.copy() for n, a in optimiser.state().items()}
    state["gain/first"] = np.ones(3, np.float32)
    with pytest.raises(CheckpointError, match="gain/first"):
        optimiser.load_state(state)
    for name, v in made.items():
        np.testing.assert_array_equal(v.d, before[name])
    assert not optimiser.state()["gain/first"].any()
