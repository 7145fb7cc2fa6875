"""Whole jobs by mpirun: two ranks leave behind what one does with the whole batch."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import yaml

from nnclip.training.boards import read_log
from nnclip.weights.h5 import read_h5

STEPS = 4
Run = Callable[..., CompletedProcess]


@pytest.fixture
def published_run(run_ranks: Run, small_h5: Path, pairs_csv: Path) -> Run:
    """Runs the published command with a small model; the flags that follow go over it."""

    def run(ranks: int, folder: Path, *flags: object) -> CompletedProcess:
        command = (
            f"-ft -ep 30 -wi 2 --train-txt-path {pairs_csv} --val-txt-path {pairs_csv} --lr 5.0e-5 "
            "--beta1 0.9 --beta2 0.98 --eps 1.0e-6 --wd 1.0e-5 --solver AdamW -c cpu "
            f"--model-load-path {small_h5} -i {STEPS} --workers 0 --log-interval 1 -m {folder}"
        )
        done = run_ranks(ranks, *command.split(), *flags)
        assert done.returncode == 0, done.stderr
        return done

    return run


def numbers(folder: Path) -> dict[str, list[float]]:
    log = read_log(folder)
    names = ("loss", "image_accuracy", "validation_loss", "validation_image_accuracy")
    return {name: [line[name] for line in log if name in line] for name in names}


def assert_same_model(found: Path, expected: Path) -> None:
    arrays, wanted = read_h5(found).arrays, read_h5(expected).arrays
    for name, array in wanted.items():
        if name.endswith("in_proj_b"):  # a key's bias has no gradient but rounding
            continue
        np.testing.assert_allclose(arrays[name], array, atol=2e-5, rtol=1e-4, err_msg=name)


def test_two_ranks_train_and_validate_as_one_and_either_goes_on_for_the_other(
    published_run: Run, tmp_path: Path
) -> None:
    one, two, mixed = (tmp_path / name for name in ("one", "two", "mixed"))
    published_run(1, one, "-b", 16)
    done = published_run(2, two, "-b", 8, "-ag", "--model-save-interval", 2, "--check-interval", 1)
    expected, found = numbers(one), numbers(two)
    assert len(expected["loss"]) == STEPS and len(expected["validation_loss"]) == STEPS // 2
    for name in ("loss", "validation_loss"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4)
    assert found["validation_image_accuracy"] == expected["validation_image_accuracy"]
    assert_same_model(two / "model.h5", one / "model.h5")
    assert done.stdout.splitlines() == [str(two / "model.h5")]  # rank 0 alone speaks and writes
    assert "step 4 of 4: pairs/s" in done.stderr

    published_run(1, mixed, "-b", 16, "--resume", two / "step-000000002.h5")
    assert [line["step"] for line in read_log(mixed) if "loss" in line] == [3, 4]
    assert_same_model(mixed / "model.h5", one / "model.h5")
    resumed = published_run(2, mixed, "-b", 8, "-ag", "-i", 6, "--resume", "latest")
    assert "going on from" in resumed.stderr
    assert [line["step"] for line in read_log(mixed) if "loss" in line] == [3, 4, 5, 6]


def test_ranks_share_the_cores_and_all_is_written_down(published_run: Run, tmp_path: Path) -> None:
    done = published_run(2, tmp_path / "run", "-b", 8, "-ag", "-i", 1)
    found = yaml.safe_load((tmp_path / "run" / "resolved.yaml").read_text())
    assert (found["ranks"], found["batch"], found["pairs"], found["steps"]) == (2, 16, 40, 1)
    assert (found["image_size"], found["context_length"]) == (32, 16)
    assert found["weight_decay"] == pytest.approx(0.2) and found["context"] == "cpu"
    alone = published_run(1, tmp_path / "alone", "-b", 8, "-i", 1)
    cores = yaml.safe_load((tmp_path / "alone" / "resolved.yaml").read_text())["threads_per_rank"]
    assert found["threads_per_rank"] == max(1, cores // 2)
    assert f"{cores} threads" in alone.stderr
    assert "2 x 8 pairs a step" in done.stderr
    assert "warm-up of 2 steps" in done.stderr and "[rank 1]" not in done.stderr  # said once
