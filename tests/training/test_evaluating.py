"""`--eval`: data sets that a run is measured on while it trains; validation that keeps workers."""

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import pytest

from nnclip.cli import main
from nnclip.commands.training_run import judges_of, make_trainer
from nnclip.errors import ConfigError, NnclipError
from nnclip.training.boards import read_log
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.flags import parse_flags, write_settings


@pytest.fixture
def classes(pairs_csv: Path, tmp_path: Path) -> Path:
    """Images in folders named by what they show."""
    for number in range(6):
        folder = tmp_path / "test" / ("few" if number % 3 == 0 else "many")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(pairs_csv.parent / "images" / f"{number}.png", folder)
    return tmp_path / "test"


@pytest.fixture
def settings(fine_tuning: TrainConfig) -> TrainConfig:
    return dataclasses.replace(fine_tuning, engine="nnabla")


def test_numbers_go_to_log_curves_and_board_and_are_those_of_evaluate(
    settings: TrainConfig,
    classes: Path,
    pairs_csv: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture,
) -> None:
    asked = (f"zero-shot:{classes}", f"retrieval:{pairs_csv}")
    config = dataclasses.replace(settings, eval=asked, eval_interval=2, ema=0.5, tensorboard=True)
    with caplog.at_level(logging.INFO):
        make_trainer(config, Alone(), "cpu").run()
    run = tmp_path / "run"
    lines = [line for line in read_log(run) if "zero_shot_test_acc1" in line]
    assert [line["step"] for line in lines] == [2, 4]
    assert "zero shot test acc1" in caplog.text
    assert list(run.glob("Zero*acc1.series.txt"))
    told = {}
    for command in (["zero-shot", str(classes)], ["retrieval", str(pairs_csv)]):
        model = ["--model", str(run / "model.h5"), "--precision", "fp32"]
        assert main(["evaluate", *command, *model, "--json"]) == 0
        told |= json.loads(capsys.readouterr().out)["metrics"]
    # the last weights, averaged, are those that were saved
    for name in ("acc1", "mean_per_class_recall"):
        assert lines[-1][f"zero_shot_test_{name}"] == pytest.approx(told[name])
    for name in ("image_retrieval_recall@1", "text_retrieval_mean_rank"):
        assert lines[-1][f"retrieval_pairs_{name}"] == pytest.approx(told[name])


def test_flags_files_and_settings_hold_several(tmp_path: Path) -> None:
    config = parse_flags(["--eval", "zero-shot:a", "--eval", "retrieval:b.csv"])
    assert config.eval == ("zero-shot:a", "retrieval:b.csv")
    write_settings(tmp_path / "s.yaml", config)
    assert parse_flags(["--config", str(tmp_path / "s.yaml")]) == config
    for content, expected in (("eval: zero-shot:a", ("zero-shot:a",)), ("eval:", ())):
        (tmp_path / "c.yaml").write_text(content + "\n")
        assert parse_flags(["--config", str(tmp_path / "c.yaml")]).eval == expected
    (tmp_path / "c.yaml").write_text("eval: [1]\n")
    with pytest.raises(ConfigError, match="expected a list of texts"):
        parse_flags(["--config", str(tmp_path / "c.yaml")])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["zeroshot:{}"], "expected zero-shot:PATH or retrieval:PATH"),
        (["zero-shot:"], "expected zero-shot:PATH"),
        (["zero-shot:{}/none"], "none"),
        (["retrieval:{}/none.csv"], "none.csv"),
        (["zero-shot:{}", "zero-shot:{}"], "the same twice"),
    ],
)
def test_what_cannot_be_measured_is_told_before_the_model_is_read(
    settings: TrainConfig, classes: Path, asked: list[str], said: str
) -> None:
    names = tuple(text.format(classes) for text in asked)
    config = dataclasses.replace(settings, eval=names, model_load_path="none.h5")
    with pytest.raises(NnclipError, match=said):
        make_trainer(config, Alone(), "cpu")


def test_data_sets_of_one_name_are_told_apart(settings: TrainConfig, classes: Path) -> None:
    shutil.copytree(classes, classes.parent / "other" / "test")
    asked = (f"zero-shot:{classes}", f"zero-shot:{classes.parent / 'other' / 'test'}")
    judges = judges_of(dataclasses.replace(settings, eval=asked), Alone())
    names = [judge.name for judge in judges]
    assert len(set(names)) == 2 and names[1] == "zero_shot_other_test"


def test_validation_keeps_its_workers(
    settings: TrainConfig, pairs_csv: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(settings, val=str(pairs_csv), workers=1)
    trainer = make_trainer(config, Alone(), "cpu")
    feed, made = trainer._validation, []
    assert feed is not None
    for _ in range(2):
        with feed.in_order(Alone(), range(10)) as batches:
            found = [fed.batch.images.copy() for fed in batches]  # type: ignore[union-attr]
        made.append((feed._kept, found))  # type: ignore[attr-defined]
    assert made[0][0] is made[1][0] is not None
    for before, after in zip(made[0][1], made[1][1], strict=True):
        assert (before == after).all()
    with feed.in_order(Alone(), range(10)) as batches:
        next(batches)  # a caller that leaves early leaves nothing that still decodes
    assert feed._kept is None  # type: ignore[attr-defined]
    feed.close()
