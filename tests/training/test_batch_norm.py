"""Training ResNets: statistics of each batch or of the file, in pieces, on ranks; open_clip."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import nnabla as nn
import numpy as np
import pytest

from nnclip.clip import CLIP
from nnclip.engine.stock import StockStep
from nnclip.graph.config import BlockConfig, ClipConfig, ClipResNetConfig, TextConfig
from nnclip.graph.convolution import is_statistic
from nnclip.graph.parameters import flatten, make_parameters
from nnclip.image import Preprocess
from nnclip.training.batch import Batch
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.model import freeze, make_trainee, trains_statistics
from nnclip.training.solvers import make_optimiser
from nnclip.training.step import ContrastiveStep, StepOptions, step_maker
from nnclip.training.trainer import Trainer
from nnclip.weights.model import load_model

CONFIG = ClipConfig(
    embed=32,
    image=ClipResNetConfig(Preprocess(64), (1, 1, 1, 1), 8, 4),
    text=TextConfig(100, 12, BlockConfig(64, 2, 1, 256)),
)
RATE = 1e-3
SETTINGS = TrainConfig(lr=RATE, weight_decay=0.2, eps=1e-6)
SCRIPT = Path(__file__).with_name("step_on_ranks.py")


def pairs(seed: int, rows: int = 8) -> Batch:
    rng = np.random.default_rng(seed)
    ids_NL = rng.integers(1, 98, (rows, 12), dtype=np.int32)
    ids_NL[:, 0], ids_NL[:, -1] = 98, 99
    images = rng.normal(size=(rows, 3, 64, 64)) + 2 * rng.normal(size=(rows, 3, 1, 1))
    return Batch(images.astype(np.float32), ids_NL)


Model = tuple[dict[str, nn.Variable], Callable[..., ContrastiveStep]]


@pytest.fixture
def model() -> Model:
    """Variables, and what makes steps of them; gains of 0 would leave the blocks without use."""
    scope = make_parameters(CONFIG, seed=3)
    for name, variable in flatten(scope).items():
        if name.endswith("bn3/W"):
            variable.d = 0.5

    def step(make=None, **options: object) -> ContrastiveStep:
        options = StepOptions(trained_statistics=True, **options)
        return ContrastiveStep(CONFIG, scope, Alone(), make or step_maker(compiled=True), options)

    return flatten(scope), step


def statistics(variables: dict[str, nn.Variable]) -> dict[str, np.ndarray]:
    return {name: np.array(v.d) for name, v in variables.items() if is_statistic(name)}


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], limit: float):
    assert found.keys() == expected.keys() and found
    for name, array in expected.items():
        assert np.linalg.norm(found[name] - array) <= limit * np.linalg.norm(array), name


@pytest.mark.torch
def test_steps_from_scratch_are_open_clips(model: Model) -> None:
    import open_clip
    import torch

    from nnclip.convert.names import to_foreign
    from nnclip.convert.openai import DIALECT
    from nnclip.convert.tensors import of_array

    variables, make = model
    table = DIALECT.names.writing((CONFIG.image, CONFIG.text))
    foreign = to_foreign({k: of_array(v.d.copy()) for k, v in variables.items()}, table)
    vision = {"layers": [1, 1, 1, 1], "width": 8, "head_width": 64, "image_size": 64}
    text = {"context_length": 12, "vocab_size": 100, "width": 64, "heads": 1, "layers": 2}
    other = open_clip.model.CLIP(32, vision, text, quick_gelu=True).train()
    other.load_state_dict({k: torch.tensor(t.read()) for k, t in foreign.items()}, strict=False)
    groups = [
        {"params": [p for p in other.parameters() if p.ndim > 1], "weight_decay": 0.2},
        {"params": [p for p in other.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    solver = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), eps=1e-6)
    step, optimiser = make(), make_optimiser(SETTINGS, variables, on_cpu=True)
    losses: list[list[float]] = [[], []]
    for seed in range(4):
        batch = pairs(seed)
        solver.zero_grad()
        answer = other(torch.tensor(batch.images), torch.tensor(batch.ids).long())
        loss = open_clip.ClipLoss()(*answer)
        loss.backward()
        solver.step()
        losses[0].append(float(loss.detach()))
        losses[1].append(step(batch).loss)
        optimiser.update(RATE)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    state = other.state_dict()
    name_of = {k: next(iter(to_foreign({k: of_array(v.d)}, table))) for k, v in variables.items()}
    expected = {k: state[name_of[k]].numpy() for k in statistics(variables)}
    assert_close(statistics(variables), expected, 1e-3)


@pytest.mark.parametrize("make_step", [None, StockStep], ids=["compiled", "nnabla"])
def test_the_loss_falls(model: Model, make_step) -> None:
    variables, make = model
    step, batch = make(make_step), pairs(0)
    optimiser = make_optimiser(SETTINGS, variables, on_cpu=True)
    losses = []
    for _ in range(3):
        losses.append(step(batch).loss)
        optimiser.update(RATE)
    assert losses[2] < losses[1] < losses[0]


@pytest.mark.parametrize("make_step", [None, StockStep], ids=["compiled", "nnabla"])
def test_pieces_move_the_statistics_once_each(model: Model, make_step) -> None:
    """Though the features of each are computed twice."""
    variables, make = model
    before, batch = statistics(variables), pairs(0)
    for piece in batch.pieces(4):
        make(make_step)(piece)
    expected = statistics(variables)
    for name, array in before.items():
        variables[name].d = array
    make(make_step, micro_batch=4)(batch)
    assert_close(statistics(variables), expected, 1e-5)


def test_validation_knows_no_batch(model: Model) -> None:
    """An image's features are then the same alone and in company, and nothing moves."""
    variables, make = model
    step, batch = make(), pairs(0)
    in_training = step(batch).image
    before = statistics(variables)
    together = step.features(batch)[0]
    alone = np.concatenate([step.features(piece)[0] for piece in batch.pieces(1)])
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)
    assert np.abs(together - in_training).max() > 0.01
    assert_close(statistics(variables), before, 0.0)
    for name, array in before.items():  # later statistics are seen without compiling anew
        variables[name].d = array + 0.5
    assert np.abs(step.features(batch)[0] - together).max() > 0.01


@pytest.fixture
def settings(pairs_csv: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        train=str(pairs_csv), model="tiny-RN", batch_size=8, lr=1e-4, warmup_iter=0, workers=0,
        max_iter=2, monitor_path=str(tmp_path / "run"), val=str(pairs_csv),
    )  # fmt: skip


def test_from_scratch_and_on(settings: TrainConfig, pairs_csv: Path, tmp_path: Path) -> None:
    """The trainer trains, validates and saves a ResNet; fine-tuning leaves its statistics."""
    path = Trainer(settings, Alone(), "cpu").run()
    assert path is not None
    first = load_model(path).variables()
    assert np.abs(first["visual/bn1/running_mean"].d).max() > 0
    assert not first["visual/bn1/running_mean"].need_grad
    features = CLIP(path).encode_image(pairs(0, 2).images)
    assert features.shape == (2, 256) and np.isfinite(features).all()

    again = dataclasses.replace(
        settings, finetuning=True, model_load_path=str(path), monitor_path=str(tmp_path / "again")
    )
    path = Trainer(again, Alone(), "cpu").run()
    assert path is not None
    second = load_model(path).variables()
    assert_close(statistics(second), statistics(first), 0.0)
    assert np.abs(second["visual/bn1/W"].d - first["visual/bn1/W"].d).max() > 0


def test_when_statistics_are_trained(settings: TrainConfig) -> None:
    variables = make_trainee(settings).variables()
    tuning = dataclasses.replace(settings, finetuning=True)
    assert trains_statistics(settings, variables)
    assert not trains_statistics(tuning, variables)
    assert trains_statistics(dataclasses.replace(tuning, batch_norm="trained"), variables)
    assert not trains_statistics(dataclasses.replace(settings, batch_norm="frozen"), variables)
    freeze(variables, "image")
    assert not trains_statistics(settings, variables)
    transformer = make_trainee(dataclasses.replace(settings, model="tiny")).variables()
    assert not trains_statistics(settings, transformer)


def test_ranks_keep_the_mean_of_their_statistics(
    settings: TrainConfig, run_ranks, tmp_path: Path
) -> None:
    """Each rank normalises with its own batch; the running statistics of all stay the same."""
    out = tmp_path / "found.npz"
    words = ["--model", "tiny-RN", "--train-txt-path", settings.train, "--lr", "1e-4", "-wi", "0"]
    words += ["--workers", "0", "-m", settings.monitor_path, "-b", "8", "-ag"]
    done = run_ranks(2, out, *words, script=SCRIPT)
    assert done.returncode == 0, done.stderr
    each = []
    for share in range(2):
        trainer = Trainer(settings, Alone(), "cpu")
        with trainer.feed.training(Alone(), 8 * share, 1) as batches:
            trainer.step(next(batches).batch)
        each.append(statistics(trainer._variables))
    expected = {name: (each[0][name] + each[1][name]) / 2 for name in each[0]}
    with np.load(out) as found:
        assert_close(
            {k: found[f"parameter {k}".replace("/", "|")] for k in expected}, expected, 1e-5
        )
    assert any(np.abs(each[0][k] - each[1][k]).max() > 1e-3 for k in expected)
