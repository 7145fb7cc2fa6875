"""One step on several real MPI ranks, or in pieces, equals the step of one rank on one batch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.trainer import Trainer

SCRIPT = Path(__file__).with_name("step_on_ranks.py")
Run = Callable[..., dict[str, np.ndarray]]


@pytest.fixture
def one_step(run_ranks, small_h5: Path, pairs_csv: Path, tmp_path: Path) -> Run:
    def run(ranks: int, *flags: object) -> dict[str, np.ndarray]:
        out = tmp_path / "found.npz"
        common = ["-ft", "--model-load-path", small_h5, "--train-txt-path", pairs_csv]
        common += ["--lr", "1e-5", "-wi", "0", "--workers", "0", "-m", tmp_path / "run"]
        done = run_ranks(ranks, out, *common, *flags, script=SCRIPT)
        assert done.returncode == 0, done.stderr
        with np.load(out) as found:
            return {name.replace("|", "/"): found[name] for name in found.files}

    return run


def assert_same_step(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-6)
    names = [name for name in expected if name.startswith("gradient ")]
    largest = max(np.linalg.norm(expected[name]) for name in names)
    for name in names:
        # a key's bias has no gradient but rounding: softmax does not see it
        size = max(np.linalg.norm(expected[name]), 1e-3 * largest)
        assert np.linalg.norm(found[name] - expected[name]) <= 1e-5 * size, name
    for name in (name for name in expected if name.startswith("parameter ")):
        size = np.linalg.norm(expected[name])
        assert np.linalg.norm(found[name] - expected[name]) <= 1e-5 * max(size, 1), name


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_two_ranks_with_aggregation_are_one_rank_with_the_whole_batch(
    one_step: Run, loss: str
) -> None:
    expected = one_step(1, "-b", 16, "--loss", loss)
    assert_same_step(one_step(2, "-b", 8, "-ag", "--loss", loss), expected)
    # and in pieces on each rank
    assert_same_step(one_step(2, "-b", 8, "-ag", "--micro-batch-size", 4, "--loss", loss), expected)
    scale = "gradient logit_scale"
    assert expected[scale] != 0


@pytest.mark.heavy
def test_distillation_over_two_ranks_is_that_of_one(
    one_step: Run, other_h5: Path, tmp_path: Path
) -> None:
    teacher = ["--distil", other_h5, "--distil-cache", tmp_path / "features"]
    expected = one_step(1, "-b", 16, *teacher)
    assert_same_step(one_step(2, "-b", 8, "-ag", *teacher), expected)


def test_pieces_are_the_whole_batch(one_step: Run) -> None:
    expected = one_step(1, "-b", 16)
    assert_same_step(one_step(1, "-b", 16, "--micro-batch-size", 4), expected)


def test_without_aggregation_gradients_are_the_mean_of_the_ranks(
    one_step: Run, small_h5: Path, pairs_csv: Path, tmp_path: Path
) -> None:
    """Each rank contrasts its own pairs; still all of them move alike."""
    found = one_step(2, "-b", 8)
    config = TrainConfig(
        train=str(pairs_csv), finetuning=True, model_load_path=str(small_h5), batch_size=8,
        lr=1e-5, workers=0, monitor_path=str(tmp_path),
    )  # fmt: skip
    trainer = Trainer(config, Alone(), "cpu")
    losses, gradients = [], []
    for share in range(2):
        with trainer.feed.training(Alone(), 8 * share, 1) as batches:
            losses.append(trainer.step(next(batches).batch).loss)
        gradients.append({f"gradient {k}": v.g.copy() for k, v in trainer.step.trained.items()})
    expected = {name: (gradients[0][name] + gradients[1][name]) / 2 for name in gradients[0]}
    assert_same_step(found, {"loss": np.mean(losses), **expected})
