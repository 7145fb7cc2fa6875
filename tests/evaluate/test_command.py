"""The command with a real, if random, model on drawn images."""

import json
import math

import pytest

from nnclip.cli import main
from nnclip.drawing.writer import Order, write_table

SIX = ["dataset", "model", "pretrained", "task", "metrics", "language"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    order = Order(folder, 24, split="heldout-shapes", size=32, languages=("en", "de"), captions=0)
    assert sum(write_table(order)) == 24
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NNCLIP_CACHE", str(tmp_path / "cache"))


def evaluate(capsys, *words):
    status = main(["evaluate", *map(str, words)])
    return status, capsys.readouterr()


def measured(capsys, model, *words):
    status, told = evaluate(capsys, *words, "-m", model, "--precision", "fp32", "--json")
    assert status == 0, told.err
    return json.loads(told.out)


def test_zero_shot_among_all_shapes(capsys, small_h5, drawn, tmp_path):
    words = ["zero-shot", drawn / "pairs.csv", "--classes", drawn / "both.txt"]
    names = (drawn / "shapes.en.txt").read_text() + (drawn / "shapes.de.txt").read_text()
    (drawn / "both.txt").write_text(names)
    record = measured(capsys, small_h5, *words, "--templates", "simple", "--figures", tmp_path)
    assert list(record)[:6] == SIX and record["classes"] == 242 and record["images"] == 48
    assert all(math.isfinite(value) for value in record["metrics"].values())
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "answers.png", "calibration.png", "classes.png",
    }  # fmt: skip
    again = measured(capsys, small_h5, *words, "--templates", "simple")
    assert again == record  # from the kept class embeddings
    status, told = evaluate(capsys, *words, "-m", small_h5, "--per-class")
    assert status == 0 and "mean_per_class_recall" in told.out
    assert "mostly mistaken for" in told.out and "rotes Herz" in told.out


def test_retrieval_of_all_languages(capsys, small_h5, drawn, tmp_path):
    words = ["retrieval", drawn / "pairs.csv", "--language", "all"]
    records = measured(capsys, small_h5, *words, "--figures", tmp_path)
    assert [record["language"] for record in records] == ["en", "de", "mean"]
    assert len(list(tmp_path.glob("nearest-*.png"))) == 4
    status, told = evaluate(capsys, *words, "-m", small_h5)
    assert status == 0 and told.out.splitlines()[0].startswith("language  image recall@1")
    status, told = evaluate(capsys, *words[:2], "--language", "xx", "-m", small_h5)
    assert status == 2 and "no caption in language 'xx'; there are: de, en" in told.err


def test_predict_bias_and_attack(capsys, small_h5, colour_folder, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("a red thing\na blue thing\na green thing\n")
    status, told = evaluate(
        capsys, "predict", colour_folder, "--texts", texts, "-m", small_h5, "--figures", tmp_path
    )
    assert status == 0 and told.out.count(".png") == 16
    words = ["--figures", tmp_path]
    record = measured(capsys, small_h5, "bias", colour_folder, "--texts", texts, *words)
    assert record["task"] == "bias" and len(record["groups"]) == 4
    record = measured(capsys, small_h5, "typographic", colour_folder, *words)
    assert set(record["metrics"]) == {"acc1_clean", "acc1_attacked", "drop", "fooled"}
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert {"heat-map.png", "probabilities-2.png", "bias.png", "typographic-attack.png"} <= drawn


def test_few_shot(capsys, small_h5, colour_folder, tmp_path):
    flags = ["--shots", "1,2", "--draws", "1", "--figures", str(tmp_path / "figures")]
    record = measured(capsys, small_h5, "few-shot", colour_folder, colour_folder, *flags)
    assert record["task"] == "few_shot" and record["metrics"]["tip_adapter_2_shots_acc1"] > 0.4
    assert (tmp_path / "figures" / "shots.png").exists()


def test_linear_probe(capsys, small_h5, colour_folder):
    record = measured(capsys, small_h5, "linear-probe", colour_folder, colour_folder)
    assert record["task"] == "linear_probe" and record["metrics"]["acc1"] > 0.5


def test_training_figures(capsys, drawn, tmp_path):
    lines = [{"step": 10 * i, "loss": 4.0 / i, "learning_rate": 1e-3} for i in range(1, 30)]
    log = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "log.jsonl").write_text(log + '{"step": 3')  # cut short by a crash
    status, told = evaluate(capsys, "training", tmp_path, "--pairs", drawn / "pairs.csv")
    assert status == 0
    assert told.out.split() == [str(tmp_path / "curves.png"), str(tmp_path / "samples.png")]
    status, told = evaluate(capsys, "training", drawn)
    assert status == 2 and "expected a run's folder" in told.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["zero-shot", "nowhere"], "nowhere: no such file or folder"),
        (["zero-shot", ".", "--templates", "none"], "a text with {} or a file"),
        (["retrieval", "nowhere.json"], "nowhere.json: cannot be read"),
        (["zero-shot", ".", "--batch-size", "0"], "--batch-size 0"),
    ],
)
def test_bad_arguments_are_refused(capsys, small_h5, colour_folder, monkeypatch, words, says):
    monkeypatch.chdir(colour_folder)
    status, told = evaluate(capsys, *words, "-m", small_h5)
    assert status == 2 and says in told.err
