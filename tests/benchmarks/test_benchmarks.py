"""Both scripts on a tiny model: what the JSON line holds, how absent peers are named, who agrees.

Speeds are not judged here: the machine may be busy.
"""

import importlib.util
import json

import cpu_inference
import cpu_training
import models
import numpy as np
import pytest
from measuring import NO_BF16
from peers import PEERS, TEXT_PEERS

from nnclip.engine import available_precisions

ABSENT = ("torch", "clip", "open_clip", "transformers", "onnxruntime", "nncf")
PRECISIONS = [p for p in ("fp32", "bf16") if p in available_precisions()]


@pytest.fixture
def only_nnclip(monkeypatch):
    """An environment with the runtime requirements alone, as far as `installed` can tell."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in ABSENT else find(name, *a)
    )


def last_line(main, capsys, *flags: str) -> dict:
    assert main(["--models", "tiny", "--rounds", "1", *flags]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def check_shape(found: dict) -> None:
    for row in found["rows"]:
        assert {"model", "tower", "precision", "batch", "implementation", "per_second"} <= set(row)
        speed = row["per_second"]
        assert 0 < speed["lower_quartile"] <= speed["median"] <= speed["upper_quartile"]
    for name, ratio in found["ratios"].items():
        assert {"value", "target", "reached"} <= set(ratio), name


def check_agreement(found: dict) -> None:
    for row in found["rows"]:
        close = row["agreement"]
        if row["precision"] == "fp32":
            assert close["largest_error"] < 1e-5, row
        else:
            assert close["least_cosine"] > 0.99, row


def test_inference_without_peers_names_them(only_nnclip, capsys):
    found = last_line(cpu_inference.main, capsys, "--batches", "8")
    check_shape(found)
    assert {r["implementation"] for r in found["rows"]} == {"nnclip", "plain nnabla"}
    for name in (*PEERS, "onnxruntime", "openvino of the torch model", "nnclip int8"):
        assert any(line.startswith(name) for line in found["skipped"]), name
    ours = PRECISIONS[-1]
    assert f"tiny image {ours}, batch 8, fraction of the {ours} peak" in found["ratios"]
    assert set(found["peak_gflops"]["tiny"]) == set(PRECISIONS)


def test_a_resnet_is_measured_without_what_has_none(only_nnclip, capsys):
    assert cpu_inference.main(["--models", "tiny-RN", "--rounds", "1", "--batches", "8"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    check_shape(found)
    assert {r["implementation"] for r in found["rows"]} == {"nnclip"}
    assert {r["precision"] for r in found["rows"]} == set(PRECISIONS)


def test_training_without_peers_names_them(only_nnclip, capsys):
    found = last_line(cpu_training.main, capsys, "--batches", "2")
    check_shape(found)
    assert {r["implementation"] for r in found["rows"]} == {"nnclip", "plain nnabla"}
    assert all(any(line.startswith(name) for line in found["skipped"]) for name in PEERS)
    assert all(np.isfinite(r["loss"]) for r in found["rows"])


@pytest.mark.torch
@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")  # of exporters and of torch's own making
def test_all_implementations_compute_the_same_features(capsys):
    found = last_line(cpu_inference.main, capsys, "--batches", "1,8")
    check_shape(found)
    named = {r["implementation"] for r in found["rows"]}
    assert named == {"nnclip", "plain nnabla", *PEERS, "onnxruntime", "openvino"}
    assert {r["precision"] for r in found["rows"]} == {*PRECISIONS, "int8"}
    check_agreement(found)
    without_bf16 = [] if "bf16" in PRECISIONS else [NO_BF16]
    assert {*found["skipped"]} == {*without_bf16, "torch.compile: not asked for (--compile)"}


@pytest.mark.torch
def test_a_text_encoder_is_measured_alone(capsys):
    found = last_line(cpu_inference.main, capsys, "--models", "tiny-encoder", "--batches", "2")
    check_shape(found)
    assert {r["implementation"] for r in found["rows"]} == {"nnclip", *TEXT_PEERS}
    assert {(r["tower"], r["tokens"]) for r in found["rows"]} == {("text", 8), ("text", 16)}
    check_agreement(found)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_all_implementations_compute_the_same_gradients(capsys):
    found = last_line(cpu_training.main, capsys, "--batches", "4")
    check_shape(found)
    assert {r["implementation"] for r in found["rows"]} == {"nnclip", "plain nnabla", *PEERS}
    by_length = {n: [r for r in found["rows"] if r["tokens"] == n] for n in (16, 8)}
    for rows in by_length.values():
        assert {"nnclip", *PEERS} <= {r["implementation"] for r in rows}
        losses = [r["loss"] for r in rows if r["precision"] == "fp32"]
        assert max(losses) - min(losses) < 1e-5
    for row in found["rows"]:
        if row["precision"] == "fp32":
            assert row["agreement"]["largest_error"] < 1e-4, row


def test_the_work_of_a_tower_is_counted_right():
    """ViT-B/32: 4.4 G multiply-adds, as the literature has it; the last block saves a twelfth."""
    config = models.MODELS["ViT-B/32"]
    assert models.image_work(config) == pytest.approx(2 * 4.4e9, rel=0.02)
    assert models.image_work_needed(config) / models.image_work(config) == pytest.approx(
        1 - 1 / 12 * 0.9, abs=0.02
    )


def test_captions_end_where_they_should():
    ids = models.captions(models.TINY, 3, 5)
    assert ids.shape == (3, 16)
    assert (ids.argmax(axis=1) == 4).all() and (ids[:, 5:] == 0).all()
