"""--dry-run of every command that works long: says what it would do, and leaves nothing behind."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnclip.cli import main

COLOURS = ("red", "lime", "blue", "white", "black")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images in a folder for each class, and lists that name them; the working folder."""
    rows, addresses = ["filepath\ttitle"], ["url\tcaption"]
    for colour in COLOURS:
        for number in range(10):
            path = tmp_path / "classes" / colour / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 30 + number), colour).save(path)
            rows.append(f"{path.relative_to(tmp_path)}\ta {colour} square, number {number}")
            addresses.append(f"http://127.0.0.1:9/{colour}/{number}.jpg\ta {colour} square")
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "urls.tsv").write_text("\n".join(addresses) + "\n")
    (tmp_path / "names.txt").write_text("\n".join(COLOURS) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words, "--dry-run"]) == 0
    return capsys.readouterr().out


def test_fetch_pairs_asks_for_nothing(data, capsys):
    before = files(data)
    said = told(capsys, "fetch-pairs", "urls.tsv", "there")
    assert "http://127.0.0.1:9/red/0.jpg\ta red square\n" in said
    assert "dry run: would ask 50 of 50 addresses; 0 images are in there\n" in said
    assert files(data) == before
    (data / "there").mkdir()
    (data / "there/failed.tsv").write_text("http://127.0.0.1:9/red/0.jpg\tTimeoutError\n")
    found = json.loads(told(capsys, "fetch-pairs", "urls.tsv", "there", "--json"))
    assert found["asked"] == 49 and found["failed"] == 1
    assert "would ask 50" in told(capsys, "fetch-pairs", "urls.tsv", "there", "--retry")


def test_train_tokenizer_learns_nothing(data, capsys):
    before = files(data)
    said = told(capsys, "train-tokenizer", "pairs.csv", "-o", "v.json", "--vocab-size", "400")
    assert said.startswith("a red square, number 0\n")
    assert "would learn at most 400 tokens from 50 captions of 23 characters for v.json" in said
    assert files(data) == before


def test_cache_features_computes_two_batches(data, small_h5, capsys):
    before = files(data)
    words = "cache-features", str(small_h5), "pairs.csv", "-o", "cache", "--workers", "0"
    said = told(capsys, *words)
    for name in ("image", "text"):
        assert f"would compute 50 of 50 {name} features in 0 seconds, 0.000 GB" in said
    assert files(data) == before
    assert main([*words]) == 0
    capsys.readouterr()
    found = json.loads(told(capsys, *words, "--json"))["features"]
    kept = [np.load(path).nbytes for path in sorted((data / "cache").glob("*.npy"))]
    assert [one["there"] for one in found] == [50, 50] and len(kept) == 2
    assert [one["bytes"] for one in found] == [0, 0]


@pytest.mark.parametrize(
    "task",
    [
        "zero-shot classes",
        "retrieval pairs.csv",
        "linear-probe classes classes",
        "few-shot classes classes",
        "typographic classes",
        "bias classes --texts names.txt",
        "predict classes/red --texts names.txt",
    ],
)
def test_evaluate_embeds_a_batch(data, small_h5, capsys, task):
    before = files(data)
    said = told(capsys, "evaluate", *task.split(), "-m", str(small_h5))
    count = 10 if task.startswith("predict") else 50
    parts = 2 if task.startswith(("linear", "few")) else 1
    assert said.count(f"would embed {count} images, 0 seconds") == len(said.splitlines()) == parts
    assert said.startswith("dry run: ") and files(data) == before
