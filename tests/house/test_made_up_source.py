"""A new kind of source is one file and one row: this file is the file, `registered` adds the row.

A made-up file of colours: each line is a colour, a class and a caption. Its images exist nowhere
else. Nothing else in the project knows it.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageColor

from nnclip.cli import main
from nnclip.clip import CLIP
from nnclip.service.collection import Collection
from nnclip.service.embedder import Embedder
from nnclip.service.images import image_at, open_checked
from nnclip.sources import readers
from nnclip.sources.reader import Reader
from nnclip.sources.sample import Ask, Found, Sample
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.trainer import Trainer

LINES = [
    "red\twarm\ta red square",
    "yellow\twarm\ta yellow square",
    "blue\tcold\ta blue square",
    "green\tcold\ta green square",
]


def read(source: str, ask: Ask, found: Found) -> Iterator[Sample]:
    at = 0
    for number, line in enumerate(Path(source).read_text().splitlines()):
        _, label, caption = line.split("\t")
        yield Sample(source, at, len(line), f"{number}", "colours", (caption,), label)
        at += len(line) + 1
    found.not_read[".made-up"] += 2
    found.classes = ("cold", "warm")


def load(path: str, offset: int, size: int) -> bytes:
    colour = Path(path).read_text()[offset : offset + size].split("\t")[0]
    pixels = np.tile(np.array(ImageColor.getrgb(colour), np.uint8), (16, 16, 1))
    return b"P6 16 16 255\n" + pixels.tobytes()


COLOURS = Reader(
    "colours", "colours (.colours)", lambda source, _: source.endswith(".colours"), read, load
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "READERS", (*readers.READERS, COLOURS))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "few.colours"
    path.write_text("\n".join(LINES) + "\n")
    return path


def test_it_is_embedded_followed_and_searched(source, tmp_path, small_h5, capsys) -> None:
    model = ["-m", str(small_h5), "--precision", "fp32", "--json"]
    place = str(tmp_path / "E")
    assert main(["embed", str(source), "-o", place, "--workers", "0", *model]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["images"] == 4 and told["not_read"] == {".made-up": 2}
    with source.open("a") as file:
        file.write("white\tcold\ta white square\n")
    assert main(["update", place, "--workers", "0", *model]) == 0
    assert json.loads(capsys.readouterr().out)["added"] == 1
    assert main(["search", "red", "-i", place, "-k", "9", *model]) == 0
    names = {hit["image"] for hit in json.loads(capsys.readouterr().out)}
    assert names == {f"{source}/{number}" for number in range(5)}


def test_it_is_trained_on(source, tmp_path, small_h5) -> None:
    config = TrainConfig(
        train=str(source),
        finetuning=True,
        model_load_path=str(small_h5),
        batch_size=4,
        max_iter=1,
        warmup_iter=0,
        workers=0,
        monitor_path=str(tmp_path / "run"),
    )
    trainer = Trainer(config, Alone(), "cpu")
    assert trainer.feed.table.not_read == {".made-up": 2}
    assert trainer.run() and trainer.state.step == 1 and not trainer.state.broken


@pytest.mark.parametrize("task", ["zero-shot", "retrieval"])
def test_it_is_evaluated(source, small_h5, capsys, task) -> None:
    assert main(["evaluate", task, str(source), "-m", str(small_h5), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["images"] == 4 and record["not_read"] == {".made-up": 2}
    assert record["dataset"] == "few"


def test_the_page_shows_it(source, small_h5) -> None:
    embedder = Embedder("small", CLIP(small_h5, precision="fp32"))
    collection = Collection("few", source)
    index = collection.prepare(embedder)
    while not index.ready:
        os.sched_yield()
    images = embedder.embed([image_at(place) for place in collection.paths])
    best = collection.search(embedder, images[2] / np.linalg.norm(images[2]), 1)[0]
    assert best.name == "2" and best.score == pytest.approx(1, abs=1e-4)
    assert open_checked(image_at(best.path)).convert("RGB").getpixel((0, 0)) == (0, 0, 255)
