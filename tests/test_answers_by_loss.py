"""A model answers by the loss that its file names: everywhere, not only where it was trained."""

import dataclasses
import json
import logging
from pathlib import Path

import h5py
import nnabla as nn
import numpy as np
import pytest

from nnclip import clip
from nnclip.assets import asset
from nnclip.cli import main
from nnclip.clip import CLIP
from nnclip.export import export
from nnclip.search import ImageSearch
from nnclip.service.answers import classify
from nnclip.service.embedder import Embedder
from nnclip.service.images import ImageFile
from nnclip.training.config import TrainConfig
from nnclip.training.model import make_trainee
from nnclip.weights.model import load_model, save_model

TEXTS = ["a dog", "a cat", "a red circle"]
BIAS = -1.5


@pytest.fixture
def model(sigmoid_h5: Path) -> CLIP:
    return clip.load(sigmoid_h5, precision="fp32")


@pytest.fixture
def picture() -> str:
    return str(asset("example.jpg"))


@pytest.fixture
def expected(model: CLIP, picture: str) -> np.ndarray:
    """The logits of TEXTS for the image, (3,), worked out from the features."""
    a = model.encode_image(model.preprocess_image(picture))[0].astype(np.float64)
    b = model.encode_text(model.tokenize(TEXTS)).astype(np.float64)
    cosines = b @ a / np.linalg.norm(a) / np.linalg.norm(b, axis=1)
    return model.logit_scale * cosines + BIAS


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def test_the_model_itself(model: CLIP, picture: str, expected: np.ndarray) -> None:
    assert (model.config.loss, model.logit_bias) == ("sigmoid", BIAS)
    images, ids = model.preprocess_image(picture), model.tokenize(TEXTS)
    for logits in (model.logits(images, ids), clip.logits(images, ids)):
        np.testing.assert_allclose(logits[0][0], expected, rtol=1e-5)
        np.testing.assert_array_equal(logits[0].T, logits[1])
    as_variables = model.logits(*map(nn.Variable.from_numpy_array, (images, ids)))[0]
    as_variables.forward()
    np.testing.assert_allclose(as_variables.d[0], expected, rtol=1e-4)
    np.testing.assert_allclose(model.probabilities(images, ids)[0], sigmoid(expected), rtol=1e-5)
    alone = model.run(picture, TEXTS[:1]).reshape(-1)
    np.testing.assert_allclose(alone, sigmoid(expected[:1]), rtol=1e-5)
    assert 0.01 < alone[0] < 0.99


def test_the_commands(
    model: CLIP, sigmoid_h5: Path, picture: str, expected: np.ndarray, tmp_path: Path, capsys
) -> None:
    flags = ["--json", "-m", str(sigmoid_h5), "--precision", "fp32"]
    texts = [word for text in TEXTS for word in ("-t", text)]
    assert main(["classify", picture, *texts, *flags]) == 0
    found = json.loads(capsys.readouterr().out)["probabilities"]
    assert list(found) == [TEXTS[i] for i in np.argsort(-expected)]
    assert [found[text] for text in TEXTS] == pytest.approx(sigmoid(expected), rel=1e-4)
    (tmp_path / "texts").write_text("\n".join(TEXTS))
    flags += ["--texts", str(tmp_path / "texts"), "--templates", "{}"]
    assert main(["evaluate", "predict", picture, *flags]) == 0
    found = json.loads(capsys.readouterr().out)["probabilities"]
    assert [found[text] for text in TEXTS] == pytest.approx(sigmoid(expected), rel=1e-4)


def test_the_service_and_the_search(model: CLIP, picture: str, expected: np.ndarray) -> None:
    answer = classify(Embedder("it", model), [ImageFile.find(picture)], TEXTS, "{}")
    np.testing.assert_allclose(answer.logits[0], expected, rtol=1e-4)
    np.testing.assert_allclose(answer.probabilities[0], sigmoid(expected), rtol=1e-4)
    others = np.random.default_rng(1).normal(size=(5, model.config.embed)).astype(np.float32)
    rows = np.concatenate([model.encode_image(model.preprocess_image(picture)), others])
    hits = ImageSearch(rows, ["it", *"abcde"], model).search(TEXTS[0], 6)
    own = next(hit for hit in hits if hit["image"] == "it")
    assert own["prob"] == pytest.approx(sigmoid(expected[0]), rel=1e-4)
    assert sum(hit["prob"] for hit in hits) != pytest.approx(1, abs=1e-3)


def test_an_exported_graph_and_its_card(
    model: CLIP, picture: str, expected: np.ndarray, tmp_path: Path
) -> None:
    import openvino

    files = export(model, tmp_path, "openvino")
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["logit_bias"], "sigmoid of logit_scale * cosine + logit_bias" in
            card["probabilities"]) == (BIAS, True)  # fmt: skip
    assert "+ logit_bias" in card["graphs"][0]["outputs"]["logits_per_image"]
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(files[0], "CPU", hint)
    ids = model.tokenize(TEXTS).astype(np.int64)
    found = compiled({"images": model.preprocess_image(picture), "ids": ids})
    np.testing.assert_allclose(found["logits_per_image"][0], expected, rtol=1e-4)


def test_files(sigmoid_h5: Path, tmp_path: Path, model: CLIP) -> None:
    model.save(tmp_path / "again.h5", half=True)
    again = CLIP(tmp_path / "again.h5")
    assert (again.config, again.logit_bias) == (model.config, BIAS)
    assert model.parameters()["logit_bias"].need_grad
    with nn.parameter_scope("", scope={}):
        nn.load_parameters(str(sigmoid_h5))
        assert float(nn.get_parameters()["logit_bias"].d) == BIAS


def test_a_file_that_has_its_bias_as_metadata_is_read_and_mended(
    small_h5: Path, tmp_path: Path
) -> None:
    """As nnclip wrote them before the bias was a tensor."""
    old = tmp_path / "old.h5"
    save_model(old, load_model(small_h5), extra={"logit_bias": -7.0})
    with h5py.File(old, "r+") as file:
        del file.attrs["nnclip.loss"]
    for mapped in (False, True):
        weights = load_model(old, mapped=mapped)
        assert (weights.config.loss, float(weights.array("logit_bias"))) == ("sigmoid", -7.0)
    save_model(tmp_path / "new.h5", weights)
    with h5py.File(tmp_path / "new.h5") as file:
        assert float(file["logit_bias"][()]) == -7.0 and "nnclip.logit_bias" not in file.attrs
    assert main(["join", str(old), str(old), "-o", str(tmp_path / "joined.h5")]) == 0
    assert CLIP(tmp_path / "joined.h5").logit_bias == -7.0


def test_fine_tuning_goes_on_with_the_loss_of_the_file(
    sigmoid_h5: Path, small_h5: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrainConfig(finetuning=True, model_load_path=str(sigmoid_h5), lr=1e-5)
    assert make_trainee(config).scorer().bias == BIAS
    with caplog.at_level(logging.WARNING):
        changed = make_trainee(dataclasses.replace(config, loss="softmax"))
    assert "logit_bias: the model's, -1.5, is dropped" in caplog.text
    assert changed.weights.config.loss == "softmax" and "logit_bias" not in changed.variables()
    other = dataclasses.replace(config, loss="sigmoid", model_load_path=str(small_h5))
    begun = make_trainee(other).scorer()
    scale = float(load_model(small_h5).array("logit_scale"))
    assert begun.scalars == pytest.approx({"logit_scale": scale, "logit_bias": -10.0})


def test_evaluation_without_a_model_of_nnclip_takes_the_softmax() -> None:
    from nnclip.evaluate.zero_shot import classify

    answers = classify(np.eye(3, 4), np.arange(3), np.eye(3, 4), ("a", "b", "c"))
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1)


def test_a_file_of_an_unknown_loss_is_refused(
    small_h5: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "newer.h5"
    save_model(path, load_model(small_h5), extra={"loss": "newest"})
    assert main(["classify", "-m", str(path)]) == 2
    assert "found 'newest', expected softmax, sigmoid" in capsys.readouterr().err
