"""Runs cannot hurt each other: a folder has one run, and one process works in it."""

import dataclasses
import json
import logging
import multiprocessing
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nnclip.errors import CheckpointError, ConfigError, NnclipError
from nnclip.training.boards import read_log
from nnclip.training.checkpoint import checkpoints, step_of
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.folder import chosen_folder, files_of, hold, made_folder, read_run
from nnclip.training.launch import launch, settled
from nnclip.training.trainer import Trainer


def made(model: Path, table: Path, folder: Path) -> TrainConfig:
    return TrainConfig(
        train=str(table), finetuning=True, model_load_path=str(model), batch_size=8,
        max_iter=4, warmup_iter=0, lr=1e-5, workers=0, log_interval=1, model_save_interval=2,
        monitor_path=str(folder), keep_last=9, context="cpu",
    )  # fmt: skip


@pytest.fixture
def settings(small_h5: Path, pairs_csv: Path, tmp_path: Path) -> TrainConfig:
    return made(small_h5, pairs_csv, tmp_path / "run")


def train(config: TrainConfig, **changes: object) -> Trainer:
    config = settled(dataclasses.replace(config, **changes), Alone())  # type: ignore[arg-type]
    trainer = Trainer(config, Alone(), "cpu")
    trainer.run()
    return trainer


@pytest.fixture(scope="module")
def finished(small_h5: Path, pairs_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of `settings` that has ended, to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return train(made(small_h5, pairs_csv, folder)).folder


@pytest.fixture
def first(finished: Path, settings: TrainConfig) -> Path:
    """The folder of `settings`, where its run has ended."""
    return Path(shutil.copytree(finished, settings.monitor_path))


@pytest.fixture
def _handlers_as_before() -> Iterator[None]:
    """`launch` logs to the stderr of now."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != ".lock"
    }


def test_a_folder_of_another_run_is_refused_and_stays_as_it_was(
    settings: TrainConfig, first: Path
) -> None:
    before = contents(first)
    with pytest.raises(ConfigError, match=r"found run\.json of another run.*--overwrite"):
        train(settings, max_iter=2)
    with pytest.raises(ConfigError, match="run"):  # also without the first look
        Trainer(dataclasses.replace(settings, max_iter=2), Alone(), "cpu").run()
    assert contents(first) == before


@pytest.mark.parametrize("left", ["step-000000002.h5", "log.jsonl", "model.h5", "best.h5"])
def test_any_file_of_a_run_makes_a_folder_used(settings: TrainConfig, left: str) -> None:
    folder = Path(settings.monitor_path)
    folder.mkdir()
    (folder / left).write_bytes(b"precious")
    with pytest.raises(NnclipError):
        train(settings)
    assert (folder / left).read_bytes() == b"precious"
    assert [path.name for path in folder.iterdir()] == [left]


def test_overwrite_removes_the_old_run_once_the_new_one_is_ready(
    settings: TrainConfig, first: Path
) -> None:
    before, name = contents(first), read_run(first)["run"]
    with pytest.raises(NnclipError):  # found out before anything is removed
        train(settings, overwrite=True, train="none.csv")
    assert contents(first) == before
    (first / "notes.txt").write_text("mine")
    train(settings, overwrite=True, max_iter=1)
    assert [step_of(path) for path in checkpoints(first)] == [1]
    assert [line["step"] for line in read_log(first)] == [1]
    assert read_run(first)["run"] != name
    assert (first / "notes.txt").read_text() == "mine"


def test_a_resumed_run_keeps_its_name_and_a_branch_has_its_own(
    settings: TrainConfig, first: Path, tmp_path: Path
) -> None:
    name = read_run(first)["run"]
    train(settings, resume="latest", max_iter=6)
    assert read_run(first)["run"] == name
    branch = str(tmp_path / "branch")
    middle = str(first / "step-000000002.h5")
    train(settings, resume=middle, monitor_path=branch, max_iter=4)
    assert read_run(Path(branch))["run"] != name
    train(settings, resume="latest", monitor_path=branch, max_iter=5)
    with pytest.raises(ConfigError, match="another run"):
        train(settings, resume=str(first / "step-000000006.h5"), monitor_path=branch)


def test_an_earlier_checkpoint_does_not_lose_the_later_ones(
    settings: TrainConfig, first: Path
) -> None:
    middle = str(first / "step-000000002.h5")
    before = contents(first)
    with pytest.raises(ConfigError, match=r"later checkpoints.*step-000000004\.h5"):
        train(settings, resume=middle, monitor_path="")
    assert contents(first) == before
    again = train(settings, resume=middle, max_iter=3, overwrite=True)
    assert [step_of(path) for path in checkpoints(again.folder)] == [2, 3]


@pytest.mark.parametrize("resume", ["none.h5", "folder", "pairs"])
def test_what_cannot_be_resumed_is_told_first(
    settings: TrainConfig, resume: str, tmp_path: Path, pairs_csv: Path
) -> None:
    place = {"none.h5": tmp_path / "none.h5", "folder": tmp_path, "pairs": pairs_csv}[resume]
    with pytest.raises(CheckpointError, match="is no checkpoint of the trainer"):
        settled(dataclasses.replace(settings, resume=str(place)), Alone())


def test_nothing_to_resume_is_a_beginning_unless_something_is_lost(
    settings: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    first = train(settings, resume="latest")
    assert first.state.step == 4 and "found no checkpoint" in caplog.text
    kept = checkpoints(first.folder)
    for path in kept:
        path.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"found 2 checkpoints .* none of them"):
        train(settings, resume="latest")
    for path in kept:
        path.unlink()
    with pytest.raises(ConfigError, match=r"found model\.h5 but no checkpoint"):
        train(settings, resume="latest")
    with pytest.raises(ConfigError, match="--overwrite"):
        train(settings, resume="latest", overwrite=True)


def test_default_folders_are_numbered(
    settings: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    numbered = dataclasses.replace(settings, monitor_path="", max_iter=1)
    assert str(train(numbered).folder) == "runs/train-001"
    assert str(train(numbered).folder) == "runs/train-002"
    assert str(train(numbered, resume="latest", max_iter=2).folder) == "runs/train-002"
    (tmp_path / "runs" / "train-010").mkdir()
    assert str(chosen_folder(numbered)) == "runs/train-011"
    assert str(chosen_folder(dataclasses.replace(numbered, resume="latest"))) == "runs/train-002"


def _make(folder: str, count: int, found: "multiprocessing.Queue[str]") -> None:
    import os

    os.chdir(folder)
    for _ in range(count):
        found.put(str(made_folder(TrainConfig())))


def test_runs_that_begin_at_once_get_different_folders(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    found = spawn.Queue()
    many = [spawn.Process(target=_make, args=(str(tmp_path), 20, found)) for _ in range(3)]
    for process in many:
        process.start()
    names = [found.get(timeout=60) for _ in range(60)]
    for process in many:
        process.join()
    assert len(set(names)) == 60


@pytest.mark.usefixtures("_handlers_as_before")
def test_a_second_process_in_a_folder_is_refused_with_a_sentence(
    settings: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(settings.monitor_path)
    with hold(folder):
        assert launch("train.py", settings, Trainer) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"train.py: --monitor-path {folder}: found a run at work there")
        with pytest.raises(ConfigError, match="found a run at work"):
            Trainer(settings, Alone(), "cpu").run()
    assert not files_of(folder)
    assert launch("train.py", settings, Trainer) == 0


CHANGES = {
    "lr": (1e-4, "--lr was 1e-05, is 0.0001"),
    "schedule": ("constant", "--schedule was cosine, is constant"),
    "max_iter": (8, "was to have 4 steps of 8 pairs, is to have 8 of 8"),
    "warmup_iter": (1.0, "--warmup-iter was 0, is 1.0"),
    "weight_decay": (0.1, "--weight-decay was 0.2, is 0.1"),
    "crop_scale": (0.5, "--crop-scale was 0.9, is 0.5"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changed_since_the_checkpoint_is_told(
    settings: TrainConfig, first: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    value, said = CHANGES[name]
    train(settings, resume="latest", **{name: value})
    lines = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    told = [
        line for line in lines if line.startswith("--resume: ") and "no step is left" not in line
    ]
    assert len(told) == 1 and said in told[0]


def test_another_table_is_told(
    settings: TrainConfig, pairs_csv: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(settings, max_iter=2)
    lines = pairs_csv.read_text(encoding="utf-8").splitlines()
    other = pairs_csv.with_name("other.csv")
    other.write_text("\n".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")
    train(settings, resume="latest", train=str(other))
    assert "the pairs are not those of the checkpoint" in caplog.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "--seed 1, but 412"),
        ({"solver": "Adam"}, "--solver Adam, but AdamW"),
        ({"freeze": "image"}, "--freeze image, but empty"),
        ({"keep_together": 2}, "--keep-together 2, but 1"),
        ({"finetuning": False, "model": "tiny"}, "--finetuning False, but True"),
        ({"max_iter": 2}, "found a checkpoint after 4 steps, expected at most the 2"),
        ({"max_iter": 0, "epochs": 0.5}, "a larger --epochs"),
    ],
)
def test_what_makes_no_sense_is_refused(
    settings: TrainConfig, first: Path, changes: dict, said: str
) -> None:
    before = contents(first)
    with pytest.raises(NnclipError, match=said):
        train(settings, resume="latest", **changes)
    assert contents(first) == before


@pytest.mark.parametrize("saved", [False, True])
def test_resuming_is_only_advised_where_there_is_a_checkpoint(
    settings: TrainConfig, saved: bool
) -> None:
    if saved:
        train(settings, max_iter=2)
    resumed = dataclasses.replace(settings, resume="latest" if saved else "")
    trainer = Trainer(resumed, Alone(), "cpu")
    trainer.trainee.variables()["visual/proj"].d = np.nan
    said = r"goes on from step-0+2\.h5" if saved else "no checkpoint was written yet"
    with pytest.raises(NnclipError, match=f"found loss nan .* {said}"):
        trainer.run()


def test_run_json_says_who_works_there(settings: TrainConfig) -> None:
    about = json.loads((train(settings, max_iter=1).folder / "run.json").read_text())
    assert set(about) == {"run", "program", "process", "host", "began"}
