"""Rates of the towers and of their layers: where they go, and that a step moves by them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml

from nnclip.errors import ConfigError
from nnclip.graph.parameters import expected_shapes, flatten, make_parameters, scope_of
from nnclip.nnabla import nn
from nnclip.training.boards import read_log
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.rates import layers_below_output, rate_factors
from nnclip.training.sizes import SIZES
from nnclip.training.solvers import NnablaSolver, make_optimiser
from nnclip.training.trainer import Trainer
from nnclip.weights.h5 import read_h5
from nnclip.weights.tower import side_of
from tests.towers.samples import IMAGES, TEXTS
from tests.training.conftest import train


@pytest.fixture
def settings(fine_tuning: TrainConfig) -> TrainConfig:
    return dataclasses.replace(fine_tuning, max_iter=2, lr=1e-4, model_save_interval=1, keep_last=9)


def test_layers_of_a_transformer_are_counted_from_the_output(small_config) -> None:
    below = layers_below_output(small_config, make_parameters(small_config))
    assert below["visual/proj"] == below["visual/ln_post/W"] == below["text_projection"] == 0
    for side in ("visual/", ""):
        for layer in range(2):
            assert below[f"{side}transformer/resblocks/{layer}/mlp/c_fc/W"] == 2 - layer
    assert below["visual/conv1/W"] == below["visual/class_embedding"] == 3
    assert below["token_embedding/W"] == below["positional_embedding"] == 3
    assert "logit_scale" not in below


def test_layers_of_convolutions_are_their_stages() -> None:
    shapes = expected_shapes(SIZES["bundled"])
    scope = scope_of({n: nn.Variable(shape) for n, shape in shapes.items()})
    below = layers_below_output(SIZES["bundled"], scope)
    assert [below[f"visual/layer{i}/0/conv1/W"] for i in (1, 2, 3, 4)] == [4, 3, 2, 1]
    assert below["visual/conv1/W"] == 5 and below["visual/attnpool/c_proj/W"] == 0


@pytest.mark.parametrize(
    ("side", "name"), [("image", n) for n in IMAGES] + [("text", n) for n in TEXTS]
)
def test_every_parameter_of_every_tower_has_a_layer(side: str, name: str) -> None:
    sample = {"image": IMAGES, "text": TEXTS}[side][name]
    scope = make_parameters(sample.config)
    below = layers_below_output(sample.config, scope)
    names = {n for n in flatten(scope) if side_of(n) == side}
    unread = {"visual/attnpool/k_proj/b"}  # softmax does not see it
    assert names - set(below) <= unread
    found = {below[n] for n in names & set(below)}
    # contiguous, but for a tower whose output or embedding has no parameters
    assert found | {0, max(found)} == set(range(max(found) + 1))
    assert len(found) >= 2


def test_factors_are_products(small_config) -> None:

    model = flatten(make_parameters(small_config))
    config = TrainConfig(lr=1e-4, lr_image=2e-5, lr_text=3e-4, layer_decay=0.5)
    found = rate_factors(config, small_config, model)
    assert found["visual/proj"] == pytest.approx(0.2)
    assert found["visual/conv1/W"] == pytest.approx(0.2 / 8)
    assert found["transformer/resblocks/1/ln_1/W"] == pytest.approx(3 / 2)
    assert found["logit_scale"] == 1.0


@pytest.mark.parametrize("solver", ["engine", "AdamW", "Lamb", "Lars", "Adam"])
def test_a_factor_is_another_rate(solver: str, rng: np.random.Generator) -> None:
    """A factor of f at rate r moves as r * f alone does; torch's AdamW is compared elsewhere."""
    start = {"w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}
    moved = []
    for rate, factors in ((1e-2, {"w": 0.25}), (0.25e-2, None), (1e-2, None)):
        values = {k: nn.Variable.from_numpy_array(v, need_grad=True) for k, v in start.items()}
        if solver == "engine":
            optimiser = make_optimiser(TrainConfig(lr=rate), values, True, factors=factors)
        else:
            optimiser = NnablaSolver(solver, values, (0.9, 0.98), 1e-6, 0.2, factors)
        draws = np.random.default_rng(3)
        for _ in range(3):
            for variable in values.values():
                variable.g = draws.normal(size=variable.shape)
            optimiser.update(rate)
        moved.append({k: v.d.copy() for k, v in values.items()})
    np.testing.assert_allclose(moved[0]["w"], moved[1]["w"], rtol=1e-6)
    np.testing.assert_allclose(moved[0]["b"], moved[2]["b"], rtol=1e-6)
    assert np.abs(moved[0]["w"] - moved[2]["w"]).max() > 1e-6


@pytest.mark.parametrize("engine", ["compiled", "nnabla"])
def test_a_run_moves_by_them_and_resumes(
    settings: TrainConfig, small_h5: Path, tmp_path: Path, engine: str
) -> None:
    own = {"layer_decay": 0.25, "lr_image": 4e-4, "engine": engine, "weight_decay": 0.0}
    train(settings, **own, max_iter=1 if engine == "compiled" else 2)
    run = tmp_path / "run"
    before, first = read_h5(small_h5).arrays, read_h5(run / "step-000000001.h5").arrays

    def step(name: str) -> float:
        """Adam's first step is the rate, but for epsilon."""
        return float(np.abs(first[f"parameters/{name}"] - before[name]).max())

    assert step("visual/proj") == pytest.approx(4e-4, rel=0.02)
    assert step("visual/transformer/resblocks/1/mlp/c_fc/W") == pytest.approx(1e-4, rel=0.02)
    assert step("visual/conv1/W") == pytest.approx(4e-4 / 64, rel=0.05)
    assert step("text_projection") == pytest.approx(1e-4, rel=0.02)
    assert {line["learning_rate"] for line in read_log(run)} == {1e-4}
    told = yaml.safe_load((run / "resolved.yaml").read_text())["learning_rates"]
    assert told["image"] == pytest.approx([4e-4 / 64, 4e-4])
    assert yaml.safe_load((run / "settings.yaml").read_text())["layer_decay"] == 0.25
    if engine == "compiled":  # resuming knows no engines
        return
    branch = tmp_path / "branch"
    train(settings, **own, monitor_path=str(branch), resume=str(run / "step-000000001.h5"))
    assert (branch / "model.h5").read_bytes() == (run / "model.h5").read_bytes()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"layer_decay": 0.0}, "--layer-decay"),
        ({"layer_decay": 1.5}, "--layer-decay"),
        ({"lr_image": -0.5}, "--lr-image"),
        ({"lr_text": -2.0}, "--lr-text"),
        ({"lr_image": 1e-4, "freeze": "image"}, "--lr-image"),
        ({"lr_text": 1e-4, "lr": 0.0}, "--lr: found 0"),
    ],
)
def test_impossible_rates_are_refused(settings: TrainConfig, wrong: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Trainer(dataclasses.replace(settings, **wrong), Alone(), "cpu")
