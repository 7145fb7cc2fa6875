"""Heads trained on cached features: whole runs on one rank and on two."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from nnclip import clip
from nnclip.cli import main
from nnclip.graph.heads import HeadConfig
from nnclip.text import openai_tokenizer
from nnclip.training.boards import read_log
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.head_feed import FeaturePairs
from nnclip.training.heads import HeadTask, HeadTrainer
from nnclip.training.model import Trainee
from nnclip.weights.h5 import read_h5
from nnclip.weights.heads import load_head
from nnclip.weights.join import join, load_sides, new_head
from nnclip.weights.model import load_model, save_model

PICTURES, WIDTH, EMBED = 48, 32, 16
Train = Callable[..., HeadTrainer]


@pytest.fixture(scope="module")
def model_h5(small_h5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model with heads that drop half."""
    path = tmp_path_factory.mktemp("heads") / "model.h5"
    sides = load_sides(small_h5, small_h5)
    heads = {
        side: new_head(side, HeadConfig(WIDTH, EMBED, layers), 1)
        for side, layers in (("image", 3), ("text", 1))
    }
    save_model(path, join(dataclasses.replace(sides, heads=heads)))
    return path


@pytest.fixture(scope="module")
def pairs() -> FeaturePairs:
    """48 images with two texts each: linear images of the same hidden points."""
    rng = np.random.default_rng(5)
    points = rng.normal(size=(PICTURES, 12))
    image = points @ rng.normal(size=(12, WIDTH))
    text = np.repeat(points, 2, axis=0) @ rng.normal(size=(12, WIDTH))
    text += 0.1 * rng.normal(size=text.shape)
    first = np.arange(0, 2 * PICTURES + 1, 2)
    return FeaturePairs(image.astype("f4"), text.astype("f4"), first, np.arange(PICTURES))


@pytest.fixture
def train(model_h5: Path, pairs: FeaturePairs, tmp_path: Path) -> Train:
    """Trains heads on those pairs, and returns the trainer; `run=False` only makes it."""

    def begin(task: HeadTask | None = None, run: bool = True, **changes: object) -> HeadTrainer:
        settings: dict[str, object] = {
            "batch_size": 16, "max_iter": 6, "lr": 1e-3, "warmup_iter": 0.0, "clip_norm": 1.0,
            "weight_decay": 0.0, "schedule": "constant", "log_interval": 1,
            "monitor_path": str(tmp_path / "run"), **changes,
        }  # fmt: skip
        model = Trainee(load_model(model_h5, mapped=True), openai_tokenizer())
        task = task or HeadTask(*pairs.split(0.75, 1))
        trainer = HeadTrainer(TrainConfig(**settings), Alone(), "cpu", model, task)  # type: ignore[arg-type]
        if run:
            trainer.run()
        return trainer

    return begin


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_log(run) if "loss" in line]


def test_a_run_learns_and_leaves_model_heads_and_log(
    train: Train, model_h5: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(max_iter=90, val_interval=30, log_interval=5, lr=2e-3)
    log = read_log(run)
    assert np.mean(losses(run)[-4:]) < 0.5 * losses(run)[0]
    held_out = [line for line in log if "validation_loss" in line]
    assert [line["step"] for line in held_out] == [30, 60, 90]
    assert held_out[-1]["validation_text_accuracy"] > 0.3  # of 12; chance is 0.08
    assert all(0 <= line["image_accuracy"] <= 1 for line in log if "loss" in line)
    before, after = (read_h5(path).arrays for path in (model_h5, run / "model.h5"))
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {n for n in before if n.split("/")[0] in ("visual_head", "text_head")} | {
        "logit_scale"
    }
    for which in ("", "-last"):  # the last step saves too
        for side in ("image", "text"):
            head = load_head(run / f"{side}_head{which}.h5")
            assert all(np.array_equal(head.arrays[name], after[name]) for name in head.arrays)
            assert head.scorer.scalars["logit_scale"] == pytest.approx(float(after["logit_scale"]))
    assert (run / "image_head-best.h5").exists() and not (run / "best.h5").exists()
    assert (run / "step-000000090.h5").stat().st_size < model_h5.stat().st_size / 10
    answer = clip.CLIP(run / "model.h5", precision="fp32")
    assert answer.encode_text(answer.tokenize("a")).shape == (1, EMBED)


def test_a_resumed_run_continues_alike(train: Train, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    train(monitor_path=str(whole))
    first = train(run=False)
    first._asked_to_stop = True  # what SIGTERM does
    assert first.run() is None and first.state.step == 1
    train(resume="latest")
    one, two = (read_h5(folder / "model.h5").arrays for folder in (whole, tmp_path / "run"))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert losses(whole) == losses(tmp_path / "run")


@pytest.mark.parametrize(("temperature", "scale"), [(1.0, 1.0), (0.05, 20.0)])
def test_a_given_temperature_is_kept(
    train: Train, pairs: FeaturePairs, tmp_path: Path, temperature: float, scale: float
) -> None:
    trainer = train(HeadTask(pairs, None, temperature=temperature), max_iter=3)
    found = [line["logit_scale"] for line in read_log(tmp_path / "run")]
    assert found == pytest.approx([scale] * 3)
    batch = trainer.feed._of(np.arange(16), np.arange(16))
    image, text = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in trainer.step.features(batch)
    )
    logits = scale * text @ image.T  # multilingual CLIP's, where the scale is 1
    by_hand = np.mean([np.logaddexp.reduce(logits, axis=a) - np.diag(logits) for a in (0, 1)])
    for name, variable in trainer.trainee.variables().items():
        variable.g = 0 if variable.need_grad else variable.g
        assert variable.need_grad == (name != "logit_scale")
    assert trainer.step(batch).loss == pytest.approx(by_hand, rel=1e-5)


def test_only_the_heads_that_learn_move(
    train: Train, pairs: FeaturePairs, model_h5: Path, tmp_path: Path
) -> None:
    train(HeadTask(pairs, None, learns=("text",)), max_iter=2)
    before, after = (read_h5(path).arrays for path in (model_h5, tmp_path / "run" / "model.h5"))
    assert all(np.array_equal(before[n], after[n]) for n in before if n.startswith("visual"))
    assert not np.array_equal(before["text_head/proj/W"], after["text_head/proj/W"])


def test_a_student_learns_its_teachers_embeddings(
    train: Train, pairs: FeaturePairs, tmp_path: Path
) -> None:
    """The texts' head learns to give what the teacher gave, here a linear map of the same."""
    rng = np.random.default_rng(1)
    target = pairs.text @ rng.normal(size=(WIDTH, EMBED))
    rows = np.arange(len(target) + 1)
    lesson = FeaturePairs(target.astype("f4"), pairs.text, rows, rows[:-1])
    task = HeadTask(*lesson.split(0.8, 1), learns=("text",), imitates=True)
    trainer = train(task, max_iter=150, val_interval=150, log_interval=10, lr=5e-3)
    found = losses(tmp_path / "run")
    assert found[0] > 1 and np.mean(found[-5:]) < 0.5 * found[0]
    last = read_log(tmp_path / "run")[-1]
    assert last["validation_loss"] < 0.5 and last["validation_text_accuracy"] > 0.8
    assert not trainer.trainee.variables()["logit_scale"].need_grad


def test_every_picture_is_seen_once_an_epoch_with_one_of_its_texts(train: Train) -> None:
    feed = train(run=False).feed
    with feed.training(Alone(), 0, 6) as batches:
        seen = np.concatenate([fed.batch.text for fed in batches])
    texts = {row.tobytes(): number for number, row in enumerate(feed.table.text)}
    numbers = [texts[row.tobytes()] for row in seen]
    epochs = np.array(numbers[: 2 * len(feed.table)]).reshape(2, -1)
    assert all(sorted(epoch // 2) == feed.table.rows.tolist() for epoch in epochs)
    assert set(epochs[0] % 2) == {0, 1} and set(epochs[0]) != set(epochs[1])


def test_a_model_without_heads_is_refused(
    small_h5: Path, pairs_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["train-heads", str(small_h5), str(pairs_csv), "-m", str(tmp_path)]
    assert main(command) == 2
    assert "found no head to train" in capsys.readouterr().err
    assert main([*command, "--temperature", "0"]) == 2
    assert "expected learned, none, or a number" in capsys.readouterr().err


def test_what_does_not_fit_is_told(
    model_h5: Path, small_h5: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def said(*words: object) -> str:
        command = ["train-heads", model_h5, *words, "-m", tmp_path / "run", "--workers", 0]
        assert main([str(word) for word in command]) == 2
        return capsys.readouterr().err

    lesson = tmp_path / "lesson.csv"
    lesson.write_text("english,german\nred,rot\nblue,blau\n")
    assert "join it with --width 32" in said(lesson, "--teacher", small_h5)
    assert "no such file or folder" in said(tmp_path / "none.csv")
    Image.new("RGB", (40, 32), "red").save(tmp_path / "1.png")
    table = tmp_path / "pairs.csv"
    table.write_text("filepath\ttitle\n1.png\tone\nnone.png\ttwo\n")
    found = said(table, "--max-bad", 0)
    assert "found 1 broken images and 0 empty captions" in found and "none.png" in found
    assert "too few for two parts" in said(table)


def settings_of(run: Path) -> dict[str, object]:
    return {"log": losses(run), "heads": [load_head(run / f"{s}_head.h5").arrays
                                          for s in ("image", "text")]}  # fmt: skip


def test_two_ranks_train_what_one_trains_and_want_their_features(
    model_h5: Path,
    pairs_csv: Path,
    tmp_path: Path,
    run_ranks: Callable[..., CompletedProcess],
) -> None:
    cache = tmp_path / "cache"

    def trained(ranks: int, batch: int) -> CompletedProcess:
        return run_ranks(
            ranks, "nnclip", "train-heads", model_h5, pairs_csv, "-m", tmp_path / f"on{ranks}",
            "--cache", cache, "-b", batch, "-ag", "-i", 4, "--log-interval", 1,
            "--precision", "fp32", script="-m",
        )  # fmt: skip

    refused = trained(2, 8)
    assert refused.returncode != 0 and "first run nnclip cache-features" in refused.stderr
    made = run_ranks(
        1, "nnclip", "cache-features", model_h5, pairs_csv, "-o", cache, "--precision", "fp32",
        "--json", script="-m",
    )  # fmt: skip
    assert json.loads(made.stdout) == {
        "path": str(cache), "images": 40, "texts": 40, "image_width": WIDTH,
        "text_width": WIDTH, "broken": 0, "not_read": {},
    }  # fmt: skip
    for ranks in (1, 2):
        done = trained(ranks, 16 // ranks)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith("model.h5")
    one, two = (settings_of(tmp_path / f"on{ranks}") for ranks in (1, 2))
    assert one["log"] == pytest.approx(two["log"], rel=1e-4)
    for a, b in zip(one["heads"], two["heads"], strict=True):
        for name in a:
            np.testing.assert_allclose(a[name], b[name], atol=2e-5)
