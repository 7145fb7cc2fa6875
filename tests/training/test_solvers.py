"""Solvers: equal to torch's, and their states restore them."""

import nnabla as nn
import nnabla.solvers as S
import numpy as np
import pytest

from nnclip.errors import CheckpointError
from nnclip.training.config import TrainConfig
from nnclip.training.solvers import LossScale, NnablaSolver, make_optimiser

SHAPES = {"w": (4, 3), "b": (3,)}


def variables(values: dict[str, np.ndarray]) -> dict[str, nn.Variable]:
    return {k: nn.Variable.from_numpy_array(v.copy(), need_grad=True) for k, v in values.items()}


def drawn(rng: np.random.Generator, size: float = 1.0) -> dict[str, np.ndarray]:
    return {k: (size * rng.normal(size=s)).astype(np.float32) for k, s in SHAPES.items()}


@pytest.mark.torch
@pytest.mark.parametrize("ours", ["engine", "nnabla"])
def test_adamw_is_torchs_even_where_gradients_are_as_small_as_epsilon(
    ours: str, rng: np.random.Generator
) -> None:
    import torch

    start = drawn(rng)
    mine = variables(start)
    theirs = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in start.items()}
    groups = [{"params": [theirs["w"]], "weight_decay": 0.2},
              {"params": [theirs["b"]], "weight_decay": 0.0}]  # fmt: skip
    reference = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6)
    if ours == "engine":
        optimiser = make_optimiser(TrainConfig(), mine, on_cpu=True)
    else:
        optimiser = NnablaSolver("AdamW", mine, (0.9, 0.98), 1e-6, 0.2)
    for step in range(6):
        rate = 1e-3 * (6 - step)
        gradients = drawn(rng, 1e-6 if step % 2 else 1.0)
        for name, gradient in gradients.items():
            mine[name].g = 4 * gradient
            theirs[name].grad = torch.tensor(gradient)
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        assert optimiser.gradient_norm() == pytest.approx(4 * norm, rel=1e-5)
        optimiser.update(rate, scale=0.25)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
        for name in SHAPES:
            np.testing.assert_allclose(mine[name].d, theirs[name].detach(), rtol=1e-5, atol=1e-6)


def test_nnablas_own_adamw_halves_small_updates_and_ours_does_not() -> None:
    moved = {}
    for name in ("NNabla", "nnclip"):
        mine = variables({"b": np.zeros(1, np.float32)})
        solver = S.AdamW(1e-3, 0.9, 0.999, 1e-6, 0.0)
        solver.set_parameters(mine)
        optimiser = NnablaSolver("AdamW", mine, (0.9, 0.999), 1e-6, 0.0)
        for _ in range(3):
            mine["b"].g = 1e-6
            solver.update() if name == "NNabla" else optimiser.update(1e-3)
        moved[name] = abs(float(mine["b"].d))
    assert moved["nnclip"] == pytest.approx(3 * 1e-3 / 2, rel=1e-3)
    assert moved["NNabla"] < 0.2 * moved["nnclip"]


@pytest.mark.parametrize("name", ["AdamW", "Adam", "Lamb", "Lars"])
def test_a_restored_state_goes_on_alike(name: str, rng: np.random.Generator) -> None:
    gradients = [drawn(rng) for _ in range(6)]
    whole = variables(drawn(rng))
    optimiser = NnablaSolver(name, whole, (0.9, 0.98), 1e-6, 0.2)
    for number, gradient in enumerate(gradients):
        if number == 3:
            state = {k: a.copy() for k, a in optimiser.state().items()}
            second = variables({k: v.d for k, v in whole.items()})
        for key in SHAPES:
            whole[key].g = gradient[key]
        optimiser.update(1e-2)
    resumed = NnablaSolver(name, second, (0.9, 0.98), 1e-6, 0.2)
    resumed.load_state(state)
    for gradient in gradients[3:]:
        for key in SHAPES:
            second[key].g = gradient[key]
        resumed.update(1e-2)
    for key in SHAPES:
        np.testing.assert_array_equal(second[key].d, whole[key].d)


def test_the_state_of_another_solver_is_refused(rng: np.random.Generator) -> None:
    mine = variables(drawn(rng))
    state = NnablaSolver("Lars", mine, (0.9, 0.98), 1e-6, 0.2).state()
    with pytest.raises(CheckpointError, match="not that of Adam"):
        NnablaSolver("Adam", mine, (0.9, 0.98), 1e-6, 0.2).load_state(state)


def test_the_loss_scale_halves_on_overflow_and_grows_again() -> None:
    scale = LossScale(1024.0, patience=3)
    assert not scale.fits(float("inf")) and scale.value == 512
    assert [scale.fits(1.0) for _ in range(3)] == [True] * 3 and scale.value == 1024
    assert not scale.fits(float("nan")) and scale.value == 512


def test_a_constant_loss_scale_stays() -> None:
    scale = LossScale(1.0, patience=0)
    assert scale.fits(3.0) and not scale.fits(float("nan")) and scale.value == 1.0
