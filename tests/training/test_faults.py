"""Fourteen faults that CLIP trainers, loaders and demos on NNabla have had, and who watches each.

The tests lie where they belong; this is their index, and the last test here keeps it true.
"""

import re
from pathlib import Path

import pytest

from nnclip.training.config import TrainConfig
from nnclip.training.model import make_trainee
from nnclip.weights.model import load_model, save_model

FAULTS = {
    "several ranks train as many unrelated models unless they contrast together": [
        "training/test_ranks.py::test_without_aggregation_gradients_are_the_mean_of_the_ranks",
        "training/test_failures.py::test_different_parameters_are_found",
        "training/test_options.py::test_ranks_are_compared_at_the_start_and_every_so_often",
    ],
    "the gradient of logit_scale grows with the ranks, and each computes the whole matrix": [
        "training/test_ranks.py::test_two_ranks_with_aggregation_are_one_rank_with_the_whole_batch",
        "graph/test_losses.py::test_the_mean_over_ranks_is_the_loss_of_the_whole",
    ],
    "logit_scale has no bound, and its logarithm is logged in its place": [
        "training/test_trainer.py::test_logit_scale_is_clamped",
        "training/test_trainer.py::test_a_run_leaves_model_log_monitors_curves_and_settings",
    ],
    "`.d` is a view: averages hold the last value many times": [
        "training/test_trainer.py::test_monitors_hold_every_value_and_go_on",
    ],
    "half precision rounds token ids, and every text ends where it starts": [
        "training/test_reference.py::test_in_nnablas_half_precision_texts_still_end_where_they_end",
        "test_clip.py::test_half_precision_finds_the_end_of_the_text",
    ],
    "AdamW adds epsilon before the bias correction": [
        "training/test_solvers.py::"
        "test_adamw_is_torchs_even_where_gradients_are_as_small_as_epsilon",
        "training/test_solvers.py::test_nnablas_own_adamw_halves_small_updates_and_ours_does_not",
    ],
    "one rank validates its own batch while the others wait, and every host writes": [
        "training/test_validation.py::"
        "test_every_pair_is_seen_once_and_the_loss_is_that_of_training",
        "training/test_jobs.py::"
        "test_two_ranks_train_and_validate_as_one_and_either_goes_on_for_the_other",
    ],
    "paths have a fixed prefix, one bad pair ends the run, --image-size does nothing": [
        "training/test_readers.py::test_a_comma_separated_table_with_its_own_columns_and_root",
        "training/test_loader.py::test_broken_pictures_are_replaced_alike_on_any_number_of_ranks",
        "training/test_trainer.py::test_too_many_broken_pictures_end_the_run",
        "training/test_trainer.py::test_image_size_is_honoured",
    ],
    "each epoch's iterator stays, and ranks see the same pairs twice": [
        "training/test_long_runs.py::test_nothing_grows_over_fifty_epochs_with_workers",
        "training/test_loader.py::test_an_epoch_is_a_permutation_and_no_two_are_alike",
        "training/test_loader.py::test_the_kth_batch_is_the_same_for_any_ranks_and_workers",
    ],
    "runs cannot be resumed, and a wrong path destroys the loaded model": [
        "training/test_trainer.py::test_a_resumed_run_continues_byte_for_byte",
        "test_clip.py::test_a_failed_load_leaves_the_current_model",
    ],
    "the rate rises again, a warm-up longer than the run goes unseen, fine-tuning forgets": [
        "training/test_schedule.py::test_past_its_end_the_rate_stays_zero",
        "training/test_schedule.py::test_a_warm_up_longer_than_the_run_is_noticed",
        "training/test_faults.py::test_fine_tuning_at_a_rate_that_forgets_is_told",
    ],
    "every forward pass transposes the weights": [
        "graph/test_weights_as_stored.py::test_matrices_go_into_products_as_they_are",
    ],
    "the demo fetches any address, for as long and as much as it takes": [
        "service/test_addresses.py::test_what_is_near_is_not",
        "service/test_fetching.py::test_a_redirect_is_followed_and_checked_again",
        "service/test_fetching.py::test_too_much_too_little_and_nothing_are_refused",
        "service/test_fetching.py::test_a_server_that_drips_is_hung_up_on",
    ],
    "converters drop the statistics of batch normalisation and garble its names": [
        "convert/test_resnets.py::test_a_resnet_of_torchvision_becomes_a_tower_and_returns",
        "convert/test_resnets.py::test_bn1_is_not_a_bias_of_n1",
    ],
}


def test_fine_tuning_at_a_rate_that_forgets_is_told(
    small_h5: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"train": "x", "finetuning": True, "model_load_path": str(small_h5)}
    make_trainee(TrainConfig(**settings, lr=5e-4))
    assert "learning rate" not in caplog.text  # a random start has nothing to forget
    model = load_model(small_h5)
    model.variables()["ln_final/W"].d[3] *= 1.01
    save_model(tmp_path / "trained.h5", model)
    settings["model_load_path"] = str(tmp_path / "trained.h5")
    make_trainee(TrainConfig(**settings, lr=1e-5))
    assert "learning rate" not in caplog.text
    make_trainee(TrainConfig(**settings, lr=5e-4))
    assert "fine-tuning at a learning rate of 0.0005" in caplog.text


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_tests_that_exist(fault: str, root: Path) -> None:
    for entry in FAULTS[fault]:
        file, name = entry.split("::")
        content = (root / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", content, re.MULTILINE), entry


def test_there_are_fourteen() -> None:
    assert len(FAULTS) == 14
