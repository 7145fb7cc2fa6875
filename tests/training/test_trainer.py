"""Whole runs on one rank: what they leave behind, and that an interrupted one goes on alike."""

import dataclasses
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nnabla as nn
import numpy as np
import pytest
from PIL import Image

from nnclip import clip
from nnclip.errors import CheckpointError, DataError
from nnclip.training.boards import NnablaMonitors, read_log
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.data.pairs import Pair, PairTable
from nnclip.training.trainer import Trainer
from nnclip.weights.h5 import read_h5

Train = Callable[..., Path]


@pytest.fixture
def settings(small_h5: Path, pairs_csv: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        train=str(pairs_csv),
        finetuning=True,
        model_load_path=str(small_h5),
        batch_size=8,
        max_iter=6,
        warmup_iter=2,
        lr=1e-4,
        workers=0,
        log_interval=1,
        model_save_interval=3,
        monitor_path=str(tmp_path / "run"),
    )


def train(config: TrainConfig, **changes: object) -> Trainer:
    trainer = Trainer(dataclasses.replace(config, **changes), Alone(), "cpu")
    trainer.run()
    return trainer


def test_a_run_leaves_model_log_monitors_curves_and_settings(
    settings: TrainConfig, pairs_csv: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(settings, val=str(pairs_csv), val_interval=3, tensorboard=True)
    log = read_log(run)
    losses = [line["loss"] for line in log if "loss" in line]
    assert len(losses) == 6 and len(set(losses)) == 6  # copies, not views of the last value
    assert [line["step"] for line in log if "validation_loss" in line] == [3, 6]
    series = (run / "Loss.series.txt").read_text().split("\n")
    assert [float(row.split()[1]) for row in series if row] == pytest.approx(losses, rel=1e-5)
    scale = [line["logit_scale"] for line in log if "logit_scale" in line]
    assert scale[0] == pytest.approx(1 / 0.07, rel=0.01)  # the factor, not its logarithm
    with Image.open(run / "curves.png") as curves:
        assert curves.size[0] > 600
    assert list(run.glob("events.out.tfevents.*")) and (run / "settings.yaml").exists()
    model = clip.CLIP(run / "model.h5", precision="fp32")
    assert model.config == clip.CLIP(run / "best.h5", precision="fp32").config
    assert model.encode_text(model.tokenize("a")).shape == (1, 32)


def test_a_resumed_run_continues_byte_for_byte(settings: TrainConfig, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    train(settings, monitor_path=str(whole))
    first = Trainer(settings, Alone(), "cpu")
    first._asked_to_stop = True  # what SIGTERM does: save after this step, then end
    assert first.run() is None and first.state.step == 1
    second = train(settings, resume="latest")
    assert second.state.step == 6
    assert (tmp_path / "run" / "model.h5").read_bytes() == (whole / "model.h5").read_bytes()
    kept = [
        {k: v for k, v in line.items() if k not in ("pairs_per_second", "data_wait")}
        for folder in (whole, tmp_path / "run")
        for line in read_log(folder)
    ]
    assert kept[:6] == kept[6:]


def test_a_checkpoint_of_another_model_is_refused(
    settings: TrainConfig, other_h5: Path, tmp_path: Path
) -> None:
    train(settings, max_iter=1)
    with pytest.raises(CheckpointError, match="another model"):
        train(settings, model_load_path=str(other_h5), resume="latest")


def test_resuming_with_another_batch_keeps_the_place(
    settings: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    first = Trainer(settings, Alone(), "cpu")
    first._asked_to_stop = True
    first.run()
    half = Trainer(dataclasses.replace(settings, batch_size=4, resume="latest"), Alone(), "cpu")
    assert half.state.position == 8 and half.state.step == 2
    assert "batches of 8 pairs, now 4" in caplog.text


def test_logit_scale_is_clamped(settings: TrainConfig, small_h5: Path) -> None:
    trainer = Trainer(dataclasses.replace(settings, max_iter=1, lr=0.0), Alone(), "cpu")
    trainer._variables["logit_scale"].d = 6.0
    trainer.run()
    assert float(trainer._variables["logit_scale"].d) == pytest.approx(math.log(100))


def test_frozen_parameters_stay(settings: TrainConfig, small_h5: Path, tmp_path: Path) -> None:
    train(settings, max_iter=2, freeze="image,token_embedding/*")
    before = read_h5(small_h5).arrays
    after = read_h5(tmp_path / "run" / "model.h5").arrays
    same = {name for name in before if np.array_equal(before[name], after[name])}
    assert {n for n in before if n.startswith("visual/")} | {"token_embedding/W"} <= same
    assert "text_projection" not in same


def test_too_many_broken_pictures_end_the_run(settings: TrainConfig, tmp_path: Path) -> None:
    lines = [f"{settings.train.rsplit('/', 1)[0]}/images/{n}.png\tgood {n}" for n in range(20)]
    lines += [f"none{n}.png\tbad {n}" for n in range(5)] + ["x.png\t"]
    table = tmp_path / "t.csv"
    table.write_text("filepath\ttitle\n" + "\n".join(lines) + "\n")
    trainer = train(settings, train=str(table), max_iter=4)
    assert len(trainer.state.broken) == 5 and trainer.feed.table.dropped == 1
    with pytest.raises(DataError, match="more than --max-bad 3"):
        train(settings, train=str(table), max_bad=3, max_iter=4)


def test_image_size_is_honoured(settings: TrainConfig, tmp_path: Path) -> None:
    train(settings, max_iter=1, image_size=48)
    model = clip.CLIP(tmp_path / "run" / "model.h5", precision="fp32")
    assert model.config.image.resolution == 48
    assert model.encode_image(np.zeros((1, 3, 48, 48), np.float32)).shape == (1, 32)


def test_nnabla_and_the_compiler_run_the_same_loop(settings: TrainConfig, tmp_path: Path) -> None:
    found = {}
    for engine in ("nnabla", "compiled"):
        folder = tmp_path / engine
        train(settings, engine=engine, max_iter=3, recompute=engine == "nnabla",
              monitor_path=str(folder))  # fmt: skip
        found[engine] = [line["loss"] for line in read_log(folder)]
    assert found["nnabla"] == pytest.approx(found["compiled"], rel=1e-4)


def test_monitors_hold_every_value_and_go_on(tmp_path: Path) -> None:
    """`.d` is a view: a list of it holds the last value many times."""
    variable = nn.Variable((1,))
    monitors = NnablaMonitors(tmp_path)
    for step, value in enumerate((0.0, 2.0, 4.0, 6.0)):
        variable.d = value
        monitors.add(step, {"loss": float(variable.d)})
    rows = (tmp_path / "Loss.series.txt").read_text().split("\n")
    assert [float(row.split()[1]) for row in rows if row] == [0.0, 2.0, 4.0, 6.0]


def test_captions_without_words_leave_nothing_to_train_on() -> None:
    with pytest.raises(DataError, match="2 without a caption"):
        PairTable([Pair("a.png", ("",)), Pair("b.png", (" ",))])


KILLED = (
    "-b",
    "8",
    "-i",
    "400",
    "-wi",
    "2",
    "--lr",
    "1e-4",
    "--workers",
    "1",
    "--log-interval",
    "1",
)


def test_a_run_killed_at_any_moment_loses_at_most_the_steps_since_the_last_save(
    settings: TrainConfig, root: Path, ranks_environment: dict[str, str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    flags = ["-ft", "--model-load-path", settings.model_load_path, "-m", str(run),
             "--train-txt-path", settings.train, "--model-save-interval", "1", *KILLED]  # fmt: skip
    saved = 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "train.py", *flags, "--resume", "latest"],
            cwd=root, env=ranks_environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 200
        while len(log := read_log(run)) < saved + 3 and time.monotonic() < deadline:
            time.sleep(0.01)  # saving is most of what it does: it is killed while saving
        process.kill()
        process.wait()
        state = json.loads(json.dumps(log[-1]))
        trainer = Trainer(
            dataclasses.replace(settings, max_iter=400, resume="latest"), Alone(), "cpu"
        )
        assert trainer.state.step >= state["step"] - 1 >= saved
        saved = trainer.state.step


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_to_mpirun_saves_on_all_ranks_and_ends_well(
    number: signal.Signals,
    settings: TrainConfig,
    root: Path,
    rank_command: Callable[..., list[str]],
    ranks_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    flags = ["-ft", "--model-load-path", settings.model_load_path, "-m", str(tmp_path / "run"),
             "--train-txt-path", settings.train, "-ag", *KILLED]  # fmt: skip
    command = rank_command(2, root / "train.py", *flags)
    if number == signal.SIGTERM:  # which mpirun makes deadly: the page has lines that help
        page = (root / "docs" / "clusters.md").read_text(encoding="utf-8")
        lines = next(part for part in page.split("```") if "trap" in part)
        mpirun = f"{command[0]} --oversubscribe"
        script = lines.replace("mpirun", mpirun, 1)
        command = ["sh", "-c", script, "sh", *command[command.index("2") + 1 :]]
    process = subprocess.Popen(
        command,
        cwd=root, env=ranks_environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while len(read_log(tmp_path / "run")) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert "stopped; go on with --resume latest" in said and "Traceback" not in said
    resumed = Trainer(dataclasses.replace(settings, max_iter=400, resume="latest"), Alone(), "cpu")
    assert resumed.state.position >= 2 * 16
