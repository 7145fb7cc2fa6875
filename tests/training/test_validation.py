"""Validation: the whole set, whatever the ranks; equal to numbers worked out by hand."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from nnclip.graph.losses import SIGMOID, SOFTMAX, Scorer
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.data.pairs import Pair, PairTable
from nnclip.training.trainer import Trainer
from nnclip.training.validation import (
    Embeddings,
    accuracies,
    embed_table,
    loss_value,
    validate,
)


def test_accuracies_of_a_hand_written_matrix() -> None:
    text = np.eye(4, dtype=np.float32)
    image = np.array([[0.9, 0.1, 0, 0], [0.8, 0.3, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32)
    assert accuracies(Embeddings(image, text)) == {"image_accuracy": 0.75, "text_accuracy": 1.0}


def test_the_loss_of_hand_written_pairs() -> None:
    eye = np.eye(2, dtype=np.float32)
    pairs = Embeddings(eye, eye)
    softmax = Scorer(SOFTMAX, {"logit_scale": 0.0})
    assert loss_value(pairs, softmax) == pytest.approx(math.log(1 + math.exp(-1)))
    softplus = math.log(1 + math.exp(-1)) + math.log(2)  # of logits 1 (own) and 0 (other)
    sigmoid = Scorer(SIGMOID, {"logit_scale": 0.0, "logit_bias": 0.0})
    assert loss_value(pairs, sigmoid) == pytest.approx(softplus)


def test_the_last_batch_counts_by_its_pairs() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5, 3)).astype(np.float32)
    scorer = Scorer(SOFTMAX, {"logit_scale": math.log(2)})
    found = validate(Embeddings(rows, rows[::-1].copy()), 4, scorer)
    whole = loss_value(Embeddings(rows[:4], rows[::-1][:4]), scorer)
    assert found["validation_loss"] == pytest.approx(whole * 0.8)  # a batch of one has no loss


class Shared(Alone):
    """Stands for one of several ranks; keeps what it would send."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size, self.sent = rank, size, []

    def gather_rows(self, rows: np.ndarray) -> np.ndarray:
        self.sent.append(rows)
        return np.concatenate([rows] * self.size)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_every_pair_is_seen_once_and_the_loss_is_that_of_training(
    small_h5: Path, pairs_csv: Path, tmp_path: Path, loss: str
) -> None:
    config = TrainConfig(
        train=str(pairs_csv), val=str(pairs_csv), finetuning=True, model_load_path=str(small_h5),
        batch_size=8, workers=0, lr=1e-5, loss=loss, monitor_path=str(tmp_path),
    )  # fmt: skip
    trainer = Trainer(config, Alone(), "cpu")
    feed, step = trainer._validation, trainer.step
    found = embed_table(step, feed, Alone())
    assert found.image.shape == (40, 32)
    with feed.in_order(Alone(), range(8)) as batches:
        result = step(next(batches).batch)
    part = Embeddings(found.image[:8], found.text[:8])
    assert trainer.trainee.scorer().loss.name == loss
    assert loss_value(part, trainer.trainee.scorer()) == pytest.approx(result.loss, rel=1e-4)

    shares = [Shared(rank, 3) for rank in range(3)]
    for rank in shares:
        embed_table(step, feed, rank)
    images = np.concatenate([rank.sent[0] for rank in shares])[:40]
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    np.testing.assert_allclose(images, found.image, atol=1e-6)
    feed.close()


def test_an_unreadable_picture_is_left_out(small_h5: Path, pairs_csv: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        train=str(pairs_csv), val=str(pairs_csv), finetuning=True, model_load_path=str(small_h5),
        batch_size=8, workers=0, lr=1e-5, monitor_path=str(tmp_path),
    )  # fmt: skip
    trainer = Trainer(dataclasses.replace(config), Alone(), "cpu")
    feed = trainer._validation
    whole = embed_table(trainer.step, feed, Alone())
    pairs = [feed.table[i] for i in range(40)]
    pairs[3] = Pair("/none.png", ("x",))
    feed.table = PairTable(pairs)
    feed.close()  # what decodes has the table of before
    found = embed_table(trainer.step, feed, Alone())
    expected = np.delete(whole.image, 3, axis=0)
    np.testing.assert_allclose(found.image, expected, atol=1e-6)
    feed.close()
