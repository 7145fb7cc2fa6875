"""One step on several real MPI ranks, or in pieces, equals the step of one rank on one batch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

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


@pytest.fixture(scope="session")
def cache() -> dict[str, dict[str, np.ndarray]]:
    return {}


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


def test_pieces_are_the_whole_batch(one_step: Run) -> None:
    expected = one_step(1, "-b", 16)
    assert_same_step(one_step(1, "-b", 16, "--micro-batch-size", 4), expected)


def test_without_aggregation_gradients_are_the_mean_of_the_ranks(one_step: Run) -> None:
    """Each rank contrasts its own pairs; still all of them move alike."""
    found = one_step(2, "-b", 8)
    whole = one_step(1, "-b", 16)
    names = [name for name in whole if name.startswith("gradient ")]
    assert float(found["loss"]) < float(whole["loss"]) - 0.3  # ln 8 against ln 16
    assert all(np.isfinite(found[name]).all() for name in names)
