"""A new loss is one file and one row: this file is the file, and `registered` adds the row.

The made-up loss pulls each pair together up to a margin that it learns, and answers with the share
of the squared logits. Nothing else in the project knows it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import nnabla.functions as F
import numpy as np
import pytest
from PIL import Image

from nnclip.assets import asset
from nnclip.cli import main
from nnclip.clip import CLIP
from nnclip.export import export
from nnclip.graph.losses import LOSSES, Loss
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.flags import parse_flags
from nnclip.training.trainer import Trainer


def margin_loss(embeddings, scalars, first=0):
    gap_NE = embeddings["image"] - embeddings["text"]
    margin = F.reshape(scalars["margin"], (1,))
    return F.mean(F.abs(F.sum(gap_NE**2, axis=1) - margin))


def margin_value(logits_NN, scalars):
    cosines = np.diagonal(logits_NN) / np.exp(scalars["logit_scale"])
    return float(np.abs(2 - 2 * cosines - scalars["margin"]).mean())


def shares(logits, axis=-1):
    return logits**2 / (logits**2).sum(axis=axis, keepdims=True)


MARGIN = Loss(
    name="margin",
    scalars={"logit_scale": 1.0, "margin": 0.25},
    gathers=(),
    graph=margin_loss,
    value=margin_value,
    probabilities=shares,
    answer=lambda logits: logits**2 / F.sum(logits**2, axis=1, keepdims=True),
    among=lambda logits, log_total: logits**2 / 100,
    chunks=False,
    meaning="the share of the square of {logits}",
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(LOSSES, "margin", MARGIN)
    yield


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = ["filepath\ttitle"]
    for number in range(8):
        Image.new("RGB", (40, 32), (30 * number, 255 - 30 * number, 90)).save(
            tmp_path / f"{number}.png"
        )
        rows.append(f"{number}.png\tcolour {number}")
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


def test_it_is_trained_saved_loaded_and_answered_with(
    small_h5: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = TrainConfig(
        train=str(pairs), val=str(pairs), finetuning=True, model_load_path=str(small_h5),
        loss="margin", batch_size=8, max_iter=1, warmup_iter=0, lr=1e-5, workers=0,
        monitor_path=str(tmp_path / "run"),
    )  # fmt: skip
    trainer = Trainer(config, Alone(), "cpu")
    path = trainer.run()
    logged = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    values = {key: value for line in logged for key, value in line.items()}
    assert values["loss"] > 0 and values["validation_loss"] > 0
    model = CLIP(path)
    assert (model.config.loss, model.scorer.loss) == ("margin", MARGIN)
    margin = float(model.parameters()["margin"].d)
    assert margin != 0.25 and margin == pytest.approx(0.25, abs=1e-3)  # moved by one step

    picture = str(asset("example.jpg"))
    images, ids = model.preprocess_image(picture), model.tokenize(["a dog", "a cat"])
    logits = model.logits(images, ids)[0]
    np.testing.assert_allclose(model.probabilities(images, ids), shares(logits), rtol=1e-5)
    command = ["classify", picture, "-t", "a dog", "-t", "a cat", "-m", str(path), "--json"]
    assert main([*command, "--precision", "fp32"]) == 0
    capsys.readouterr()
    export(model, tmp_path / "out", "openvino")
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert card["probabilities"].startswith("the share of the square of logit_scale * cosine")


def test_the_flag_knows_it() -> None:
    assert parse_flags(["--train-txt-path", "x", "--loss", "margin"]).loss == "margin"
