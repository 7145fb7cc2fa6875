"""Adapters: they change nothing at first, alone are trained, and merge to the same answers."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nnclip.cli import main
from nnclip.errors import ConfigError, NnclipError
from nnclip.graph.lora import is_adapter
from nnclip.graph.parameters import make_parameters
from nnclip.training.batch import Batch
from nnclip.training.boards import read_log
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.step import ContrastiveStep, step_maker
from nnclip.training.trainer import Trainer
from nnclip.weights.h5 import read_h5
from nnclip.weights.lora import Rank, merged, with_adapters
from nnclip.weights.model import ModelWeights, load_model


@pytest.fixture
def settings(small_h5: Path, pairs_csv: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        train=str(pairs_csv), finetuning=True, model_load_path=str(small_h5), batch_size=8,
        max_iter=4, warmup_iter=0, lr=1e-2, workers=0, log_interval=1, model_save_interval=2,
        monitor_path=str(tmp_path / "run"), schedule="constant", keep_last=9, lora="4:8",
    )  # fmt: skip


def train(config: TrainConfig, **changes: object) -> Trainer:
    trainer = Trainer(dataclasses.replace(config, **changes), Alone(), "cpu")  # type: ignore[arg-type]
    trainer.run()
    return trainer


def batch(rng: np.random.Generator) -> Batch:
    ids_NL = rng.integers(1, 49000, (4, 16), dtype=np.int32)
    ids_NL[:, 0], ids_NL[:, 15] = 49406, 49407
    return Batch(rng.normal(size=(4, 3, 32, 32)).astype(np.float32), ids_NL)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("targets", ["attention", "mlp", "attention,mlp", "visual/*/mlp/c_fc/W"])
def test_adapters_answer_as_the_merged_model(
    small_config, rng: np.random.Generator, targets: str, compiled: bool
) -> None:
    plain = ModelWeights(small_config, make_parameters(small_config, seed=1), {})
    adapted = with_adapters(
        ModelWeights(small_config, make_parameters(small_config, seed=1), {}),
        Rank(4, 8.0), targets, seed=2,
    )  # fmt: skip
    one = batch(rng)

    def features(model: ModelWeights) -> np.ndarray:
        step = ContrastiveStep(small_config, model.scope, Alone(), step_maker(compiled))
        return np.stack(step.features(one))

    start = features(adapted)
    np.testing.assert_allclose(start, features(plain), atol=1e-6)  # B is zero
    for name, variable in adapted.variables().items():
        if name.endswith("_lora_B"):
            variable.d = 0.1 * rng.normal(size=variable.shape)
    moved = features(adapted)
    assert np.abs(moved - start).max() > 0.01
    both = merged(adapted)
    assert both.variables().keys() == plain.variables().keys()
    np.testing.assert_allclose(moved, features(both), atol=2e-5)


def test_only_adapters_are_trained_and_have_moments(settings: TrainConfig, tmp_path: Path) -> None:
    before = load_model(settings.model_load_path).variables()
    trainer = train(settings)
    after = trainer.trainee.variables()
    for name, variable in before.items():
        np.testing.assert_array_equal(after[name].d, variable.d)
    moving = {name for name, v in after.items() if v.need_grad}
    assert moving == set(trainer.step.trained) and all(map(is_adapter, moving))
    moments = {n.rpartition("/")[0] for n in trainer._optimiser.state()} - {""}
    assert moments == moving
    losses = [line["loss"] for line in read_log(tmp_path / "run")]
    assert losses[-1] != losses[0]
    saved = read_h5(tmp_path / "run" / "model.h5").arrays
    assert saved.keys() == before.keys()
    name = "visual/transformer/resblocks/0/attn/in_proj_W"
    a, b = after[name + "_lora_A"].d, after[name + "_lora_B"].d
    by_hand = before[name].d + np.concatenate([2.0 * b[i] @ a[i] for i in range(3)])
    np.testing.assert_allclose(saved[name], by_hand, atol=1e-6)
    assert not np.array_equal(saved[name], before[name].d)


def test_adapters_kept_apart_merge_to_the_same_model(
    settings: TrainConfig, other_h5: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train(settings)
    run, out = tmp_path / "run", tmp_path / "merged.h5"
    kept = run / "model-lora.h5"
    assert kept.stat().st_size < (run / "model.h5").stat().st_size / 10
    assert main(["merge", settings.model_load_path, str(kept), "-o", str(out)]) == 0
    one, two = read_h5(out).arrays, read_h5(run / "model.h5").arrays
    assert all(np.array_equal(one[name], two[name]) for name in two)
    for model, adapters, said in (
        (other_h5, kept, "adapters of another model"),
        (run / "model.h5", kept, "adapters of another model"),
        (settings.model_load_path, run / "model.h5", "found no adapters"),
    ):
        words = ["merge", str(model), str(adapters), "-o", str(tmp_path / "x.h5")]
        assert main(words) == 2 and said in capsys.readouterr().err
    assert not (tmp_path / "x.h5").exists()


def test_a_resumed_run_with_adapters_goes_on_alike(settings: TrainConfig, tmp_path: Path) -> None:
    train(settings)
    branch = tmp_path / "branch"
    middle = str(tmp_path / "run" / "step-000000002.h5")
    train(settings, monitor_path=str(branch), resume=middle)
    assert (branch / "model.h5").read_bytes() == (tmp_path / "run" / "model.h5").read_bytes()
    with pytest.raises(NnclipError, match="--lora 8, but 4:8"):
        train(settings, resume="latest", lora="8")


def test_a_frozen_side_has_adapters_that_stay(settings: TrainConfig) -> None:
    variables = train(settings, max_iter=1, freeze="image").trainee.variables()
    moving = {name for name, v in variables.items() if v.need_grad}
    assert moving and not any(name.startswith("visual/") for name in moving)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora": "0"}, "--lora: found '0'"),
        ({"lora": "8:"}, ""),
        ({"lora": "a"}, "expected RANK"),
        ({"lora": "8:-1"}, "--lora: found '8:-1'"),
        ({"lora_target": "nothing"}, "--lora-target: 'nothing' fits no matrix"),
        ({"lora_target": ""}, "--lora-target: found nothing"),
        ({"lora_target": "token_embedding/W"}, "token_embedding/W is no matrix of an affine layer"),
    ],
)
def test_impossible_adapters_are_refused(settings: TrainConfig, changes: dict, said: str) -> None:
    changed = dataclasses.replace(settings, **changes)
    if not said:
        Trainer(changed, Alone(), "cpu")
        return
    with pytest.raises(ConfigError, match=said):
        Trainer(changed, Alone(), "cpu")


@pytest.mark.parametrize("wrong", [{"finetuning": False}, {"wise_ft": 0.5}, {"freeze": "none"}])
def test_settings_that_contradict_adapters_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="--lora"):
        TrainConfig(**{"finetuning": True, "lora": "8", **wrong})
