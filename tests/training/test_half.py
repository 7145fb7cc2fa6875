"""Half precision as on a GPU: scaled losses, steps that overflow, token ids. NNabla's CPU functions
compute in float32 here, so that scaling by powers of two must change nothing at all.
"""

import dataclasses
from pathlib import Path

import nnabla as nn
import nnabla.functions as F
import numpy as np
import pytest

from nnclip.engine import InterpretedBatches, StockStep
from nnclip.engine.contexts import float_context
from nnclip.errors import NnclipError
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.solvers import LossScale
from nnclip.training.trainer import Trainer


@pytest.fixture
def settings(small_h5: Path, pairs_csv: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        train=str(pairs_csv),
        finetuning=True,
        model_load_path=str(small_h5),
        batch_size=4,
        max_iter=3,
        warmup_iter=0,
        lr=1e-4,
        workers=0,
        monitor_path=str(tmp_path / "run"),
        overwrite=True,
    )


def trainer_of(settings: TrainConfig, kind: str) -> Trainer:
    """A trainer that takes its way for GPUs, in the CPU's context."""
    return Trainer(dataclasses.replace(settings, type_config=kind), Alone(), "cudnn")


def overflow_in(trainer: Trainer, *calls: int) -> list[float]:
    """Let a gradient be infinite in these steps; returns the scales that steps were asked for."""
    step, scales = trainer.step, []

    def overflowing(batch, scale):
        found = step(batch, scale)
        if len(scales) in calls:
            step.trained["visual/proj"].grad.data[0, 0] = np.inf
        scales.append(scale)
        return found

    trainer.step = overflowing
    return scales


def test_a_scaled_loss_trains_as_an_unscaled_one(settings: TrainConfig) -> None:
    runs = {}
    for kind in ("float", "half"):
        trainer = trainer_of(settings, kind)
        scales = overflow_in(trainer)
        trainer.run()
        assert scales == [65536.0 if kind == "half" else 1.0] * 3
        runs[kind] = {name: v.d.copy() for name, v in trainer.trainee.variables().items()}
    for name, array in runs["float"].items():
        np.testing.assert_allclose(runs["half"][name], array, rtol=1e-6, atol=1e-9)


def test_a_step_that_overflows_is_left_out_and_halves_the_scale(settings: TrainConfig) -> None:
    trainer = trainer_of(settings, "half")
    scales = overflow_in(trainer, 0, 1)
    before = {name: v.d.copy() for name, v in trainer.trainee.variables().items()}
    trainer.run()
    assert scales == [65536.0, 32768.0, 16384.0]
    assert trainer.state.loss_scale == (16384.0, 1)
    # the one step that counted: Adam's first moves everything by the learning rate at most
    moved = [np.abs(v.d - before[n]).max() for n, v in trainer.trainee.variables().items()]
    assert 0 < max(moved) < 1.5e-4 and np.isfinite(moved).all()


def test_a_run_that_never_stops_overflowing_ends(settings: TrainConfig) -> None:
    trainer = trainer_of(dataclasses.replace(settings, max_iter=90, batch_size=2), "half")
    scales = overflow_in(trainer, *range(90))
    with pytest.raises(NnclipError, match="expected numbers; a lower --lr"):
        trainer.run()
    assert len(scales) == LossScale.MOST + 1 and scales[-1] == 1.0


def test_in_float_one_overflow_is_an_error(settings: TrainConfig) -> None:
    trainer = trainer_of(settings, "float")
    overflow_in(trainer, 0)
    with pytest.raises(NnclipError, match="expected numbers"):
        trainer.run()


def test_losses_and_sums_leave_the_half_context() -> None:
    half = nn.Context(["cudnn:half", "cudnn:float", "cuda:half", "cpu:float"], "CudaArray", "1")
    with nn.context_scope(half):
        exact = float_context()
    assert exact.backend == ["cudnn:float", "cpu:float"]
    assert (exact.array_class, exact.device_id) == ("CudaArray", "1")


def test_token_ids_stay_integers_in_nnablas_memory() -> None:
    """49406 and 49407 are the same number in float16."""
    table = nn.Variable.from_numpy_array(np.arange(49408, dtype=np.float32)[:, None])
    ids = np.array([[49406, 49407]], np.int32)
    seen: list[nn.Variable] = []

    def build(batch: int) -> tuple[dict[str, nn.Variable], dict[str, nn.Variable]]:
        seen.append(nn.Variable((batch, 2)))
        return {"ids": seen[-1]}, {"rows": F.embed(seen[-1], table)}

    found = InterpretedBatches(build)(ids=ids)["rows"]
    assert found.ravel().tolist() == [49406.0, 49407.0]
    StockStep(*build(1), {"table": table}, of=())(ids=ids)
    assert [variable.data.dtype for variable in seen] == [np.int32, np.int32]
