"""Distillation: open_clip's loss, over ranks and in pieces; the teacher's features, kept."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nnclip.clip import CLIP
from nnclip.commands.training_run import make_trainer
from nnclip.embeddings import softmax, unit
from nnclip.engine import StockStep
from nnclip.errors import NnclipError
from nnclip.graph.parameters import make_parameters
from nnclip.training.batch import Batch
from nnclip.training.boards import read_log
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.data.pairs import Draw, Pair, PairTable
from nnclip.training.distil import DistilledStep, Teacher, places
from nnclip.training.step import StepOptions
from nnclip.weights.model import load_model


def batch_of(rng: np.random.Generator, config) -> Batch:
    ids = rng.integers(1, 400, (6, 16), dtype=np.int32)
    ids[:, -1] = config.text.vocabulary - 1
    teacher = {s: unit(rng.normal(size=(6, 20)).astype(np.float32)) for s in ("image", "text")}
    return Batch(rng.normal(size=(6, 3, 32, 32)).astype(np.float32), ids, teacher)


@pytest.mark.torch
@pytest.mark.parametrize("micro", [0, 3])
def test_loss_and_gradients_are_open_clips(small_config, rng, micro: int) -> None:
    import open_clip
    import torch

    scope = make_parameters(small_config, seed=1)
    options = StepOptions(micro_batch=micro)
    step = DistilledStep(small_config, scope, Alone(), StockStep, options, scale=7.0)
    batch = batch_of(rng, small_config)
    found = step(batch)
    scale = torch.tensor(float(scope["logit_scale"].d), requires_grad=True)
    parts = [
        torch.nn.functional.normalize(torch.tensor(part), dim=1)
        for part in (found.image, found.text)
    ]
    told = [torch.tensor(batch.teacher[side]) for side in ("image", "text")]
    first, second = open_clip.loss.DistillClipLoss()(*parts, scale.exp(), *told, torch.tensor(7.0))
    (first + second).backward()
    assert found.loss == pytest.approx(float((first + second).detach()), rel=1e-5)
    assert float(scope["logit_scale"].g) == pytest.approx(float(scale.grad), rel=1e-5)


def test_a_student_that_is_its_teacher_has_the_entropy_left(small_config, rng) -> None:
    """The second part is then the entropy of the teacher, the least that it can be."""
    scope = make_parameters(small_config, seed=1)
    scale = float(np.exp(scope["logit_scale"].d))
    step = DistilledStep(small_config, scope, Alone(), StockStep, scale=scale)
    batch = batch_of(rng, small_config)
    image, text = step.features(batch)
    same = dataclasses.replace(batch, teacher={"image": unit(image), "text": unit(text)})
    logits = scale * unit(image) @ unit(text).T
    entropy = [-(softmax(x) * np.log(softmax(x))).sum(1).mean() for x in (logits, logits.T)]
    plain = step(same).loss - np.mean(entropy)
    own = [np.log(softmax(x)).diagonal().mean() for x in (logits, logits.T)]
    assert plain == pytest.approx(-np.mean(own), rel=1e-4)
    assert step(batch).loss > plain


def test_rows_of_one_image_share_its_features_and_have_their_own_captions() -> None:
    pairs = [Pair("a", ("a0", "a1")), Pair("b", ("b0",)), Pair("a", ("a2",)), Pair("b", ("b1",))]
    table = PairTable(pairs)
    grouped, image_of, first_text = places(table)
    texts = list(grouped.captions())
    assert len(grouped) == 2 and image_of.tolist() == [0, 1, 0, 1]
    assert [texts[at] for at in first_text] == ["a0", "b0", "a2", "b1"]
    image = np.eye(2, 4, dtype=np.float16)
    text = np.eye(5, dtype=np.float16)
    teacher = Teacher(table, image, text, image_of, first_text, 1.0)
    for epoch in range(8):
        draws = [Draw(3, epoch, row) for row in (2, 0)]
        found = teacher.of(draws)
        assert found["image"].argmax(1).tolist() == [0, 0]
        said = [texts[at] for at in found["text"].argmax(1)]
        assert said[0] == "a2" and said[1] in ("a0", "a1")


@pytest.fixture
def settings(small_h5: Path, other_h5: Path, pairs_csv: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        train=str(pairs_csv), finetuning=True, model_load_path=str(small_h5), batch_size=8,
        max_iter=2, warmup_iter=0, lr=1e-4, workers=0, log_interval=1, engine="nnabla",
        monitor_path=str(tmp_path / "run"), distil=str(other_h5), seed=3,
        distil_cache=str(tmp_path / "cache"),
    )  # fmt: skip


def test_a_run_learns_from_kept_features(
    settings: TrainConfig, other_h5: Path, tmp_path: Path
) -> None:
    trainer = make_trainer(settings, Alone(), "cpu")
    with trainer.feed.training(Alone(), 0, 1) as batches:
        fed = next(batches)
    table, draws = trainer.feed.table, trainer.feed._loader(Alone()).stream.draws(0, 8)  # type: ignore[union-attr]
    teacher = CLIP(other_h5, precision="fp32")
    texts = [table[draw.index].captions[0] for draw in draws]
    expected = unit(teacher.encode_text(teacher.tokenize(texts, truncate=True)))
    np.testing.assert_allclose(
        fed.batch.teacher["text"], expected, atol=2e-2
    )  # in bfloat16, where there is some
    trainer.run()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.npy")}
    assert len(kept) == 2
    plain = dataclasses.replace(settings, distil="", monitor_path=str(tmp_path / "plain"))
    make_trainer(plain, Alone(), "cpu").run()
    losses = [[x["loss"] for x in read_log(tmp_path / name)] for name in ("run", "plain")]
    assert all(a > b + 0.5 for a, b in zip(*losses, strict=True))  # two parts are more than one
    again = dataclasses.replace(settings, monitor_path=str(tmp_path / "again"))
    make_trainer(again, Alone(), "cpu").run()
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.npy")}
    saved = [load_model(tmp_path / name / "model.h5").variables() for name in ("run", "again")]
    assert all((saved[0][name].d == v.d).all() for name, v in saved[1].items())


def test_a_rehearsal_computes_no_features(settings: TrainConfig, tmp_path: Path) -> None:
    trainer = make_trainer(dataclasses.replace(settings, dry_run=True), Alone(), "cpu")
    with trainer.feed.training(Alone(), 0, 1) as batches:
        trainer.one_step(next(batches))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"loss": "sigmoid"}, "--distil: found a student with the sigmoid loss"),
        ({"templates": "plain"}, "--templates: found --distil"),
        ({"distil": "none.h5"}, "none.h5"),
    ],
)
def test_what_cannot_be_distilled_is_told(settings: TrainConfig, wrong: dict, said: str) -> None:
    with pytest.raises(NnclipError, match=said):
        make_trainer(dataclasses.replace(settings, **wrong), Alone(), "cpu")
