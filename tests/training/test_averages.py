"""WiSE-FT, soups and the running average of the weights."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from nnclip.cli import main
from nnclip.errors import ConfigError
from nnclip.nnabla import nn
from nnclip.training.boards import read_log
from nnclip.training.checkpoint import read_checkpoint
from nnclip.training.config import TrainConfig
from nnclip.training.ema import AveragingOptimiser
from nnclip.training.solvers import NnablaSolver
from nnclip.weights.h5 import read_h5
from nnclip.weights.model import load_model, save_model
from tests.training.conftest import train


@pytest.fixture
def settings(fine_tuning: TrainConfig) -> TrainConfig:
    return dataclasses.replace(fine_tuning, model_save_interval=2, keep_last=9)


def test_wise_ft_lies_between_the_start_and_the_trained_model(
    settings: TrainConfig, small_h5: Path, tmp_path: Path
) -> None:
    train(settings)
    plain = read_h5(tmp_path / "run" / "model.h5").arrays
    mixed = tmp_path / "mixed"
    train(settings, wise_ft=0.25, monitor_path=str(mixed))
    start = read_h5(small_h5).arrays
    found, trained = (read_h5(mixed / f"{n}.h5").arrays for n in ("model", "model-trained"))
    for name, array in found.items():
        np.testing.assert_array_equal(trained[name], plain[name])
        np.testing.assert_allclose(array, 0.75 * start[name] + 0.25 * plain[name], atol=1e-6)
    saved = tmp_path / "average.h5"
    command = ["average", str(small_h5), str(mixed / "model-trained.h5"), "-o", str(saved)]
    assert main([*command, "--alpha", "0.25"]) == 0
    for name, array in read_h5(saved).arrays.items():
        np.testing.assert_allclose(array, found[name], atol=1e-7)


def test_a_resumed_run_still_knows_its_start(settings: TrainConfig, tmp_path: Path) -> None:
    train(settings, wise_ft=0.5)
    path = tmp_path / "run" / "model.h5"
    whole = path.read_bytes()
    branch = tmp_path / "branch"
    middle = str(tmp_path / "run" / "step-000000002.h5")
    train(settings, wise_ft=0.5, monitor_path=str(branch), resume=middle)
    assert (branch / "model.h5").read_bytes() == whole


def test_a_soup_is_the_mean(small_h5: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    paths, arrays = [], []
    for number in range(3):
        model = load_model(small_h5)
        for variable in model.variables().values():
            variable.d = variable.d + 0.1 * number**2
        paths.append(str(tmp_path / f"{number}.h5"))
        save_model(paths[-1], model)
        arrays.append(read_h5(paths[-1]).arrays)
    out = tmp_path / "soup.h5"
    assert main(["average", *paths, "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == paths
    for name, array in read_h5(out).arrays.items():
        np.testing.assert_allclose(array, np.mean([a[name] for a in arrays], axis=0), atol=1e-6)


def test_what_cannot_be_averaged_is_told(
    small_h5: Path, other_h5: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    one, out = str(small_h5), str(tmp_path / "out.h5")
    (tmp_path / "there.h5").write_bytes(b"")
    for words, said in (
        ([one, str(other_h5), "-o", out], "expected the towers of"),
        ([one, "-o", out], "found 1, expected two or more"),
        ([one, one, one, "-o", out, "--alpha", "0.5"], "--alpha: found 0.5 with 3 models"),
        ([one, one, "-o", out, "--alpha", "1.5"], "expected 0 to 1"),
        ([one, one, "-o", str(tmp_path)], "found a folder"),
        ([one, one, "-o", str(tmp_path / "there.h5")], "--overwrite"),
        ([one, "none.h5", "-o", out], "none.h5"),
    ):
        assert main(["average", *words]) == 2
        assert said in capsys.readouterr().err
    assert not Path(out).exists()


def test_the_average_is_that_of_its_definition(rng: np.random.Generator) -> None:
    variable = nn.Variable.from_numpy_array(rng.normal(size=(3, 5)), need_grad=True)
    solver = NnablaSolver("Adam", {"a": variable}, (0.9, 0.999), 1e-8, 0.0)
    optimiser = AveragingOptimiser(solver, {"a": variable}, 0.5)
    mean = variable.d.copy()
    for step in range(1, 13):
        variable.g = rng.normal(size=(3, 5))
        optimiser.update(0.1)
        decay = min(0.5, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * variable.d
    held = variable.d.copy()
    with optimiser.averaged():
        np.testing.assert_allclose(variable.d, mean, rtol=1e-5)
    np.testing.assert_array_equal(variable.d, held)


def test_the_average_is_validated_saved_and_resumed(
    settings: TrainConfig, pairs_csv: Path, tmp_path: Path
) -> None:
    train(settings, val=str(pairs_csv), val_interval=4)
    whole = tmp_path / "ema"
    averaging = dataclasses.replace(settings, ema=0.9, val=str(pairs_csv), val_interval=4)
    train(averaging, monitor_path=str(whole))
    plain, kept = tmp_path / "run", whole
    losses = [[x["loss"] for x in read_log(folder) if "loss" in x] for folder in (plain, kept)]
    assert losses[0] == losses[1]  # the average changes nothing in the training itself
    judged = [
        x["validation_loss"] for f in (plain, kept) for x in read_log(f) if "validation_loss" in x
    ]
    assert judged[0] != judged[1]
    checkpoint = read_checkpoint(kept / "step-000000004.h5")
    saved, best = (read_h5(kept / f"{name}.h5").arrays for name in ("model", "best"))
    raw = read_h5(plain / "model.h5").arrays
    for name, array in saved.items():
        np.testing.assert_array_equal(array, checkpoint.group("optimiser")[f"ema/{name}"])
        np.testing.assert_array_equal(array, best[name])
        np.testing.assert_array_equal(checkpoint.group("parameters")[name], raw[name])
    branch = tmp_path / "branch"
    train(averaging, monitor_path=str(branch), resume=str(kept / "step-000000002.h5"))
    assert (branch / "model.h5").read_bytes() == (kept / "model.h5").read_bytes()


@pytest.mark.parametrize(
    "wrong",
    [{"ema": 1.0}, {"ema": -0.1}, {"wise_ft": 1.1}, {"wise_ft": 0.5, "finetuning": False}],
)
def test_impossible_averages_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="--" + next(iter(wrong)).replace("_", "-")):
        TrainConfig(**{"finetuning": True, **wrong})
