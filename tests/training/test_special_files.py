"""A training run goes on beside files that are none, and under names that are no UTF-8."""

import os
from pathlib import Path

import pytest

from nnclip.image import Preprocess
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.data.decode import Recipe
from nnclip.training.data.loader import Loader
from nnclip.training.data.readers import read_pairs
from nnclip.training.trainer import Trainer

from .conftest import draw

SPECIAL = ("fifo.png", "zero.png", "folder.png", "sparse.png")


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """A folder by class with images, three of them under odd names, and four that are none."""
    folder = tmp_path / os.fsdecode(b"cr\xf8wd") / "a_dog"
    for number in range(12):
        draw(folder / f"{number}.png", number)
    for number, raw in enumerate((b"caf\xe9.png", b"two\nlines.png", b"\x1b[31m.png")):
        os.rename(folder / f"{number}.png", os.fsencode(folder) + b"/" + raw)
    os.mkfifo(folder / "fifo.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "folder.png").mkdir()
    with open(folder / "sparse.png", "wb") as file:
        file.truncate(40 << 30)
    (folder / "film.mp4").write_text("x")
    return folder.parent


@pytest.mark.parametrize("workers", [0, 1])
def test_special_files_are_named_and_replaced(crowd: Path, workers: int) -> None:
    table = read_pairs(str(crowd))
    assert len(table) == 16 and table.not_read == {".mp4": 1}
    with Loader(table, Recipe(Preprocess(16)), 16, workers=workers) as loader:
        batch = next(loader.batches(iter([loader.stream.draws(0, 16)])))
    assert {Path(name).name for name in batch.broken} == set(SPECIAL)
    assert set(batch.captions) == {"a dog"} and len(batch.captions) == 16


def test_a_run_trains_on_the_others_and_tells(
    crowd: Path, small_h5: Path, tmp_path, caplog
) -> None:
    config = TrainConfig(
        train=str(crowd),
        finetuning=True,
        model_load_path=str(small_h5),
        batch_size=8,
        max_iter=2,
        warmup_iter=1,
        workers=0,
        monitor_path=str(tmp_path / "run"),
    )
    trainer = Trainer(config, Alone(), "cpu")
    assert trainer.run() and trainer.state.step == 2
    assert {Path(name).name for name in trainer.state.broken} == set(SPECIAL)
    assert "1 .mp4 not read" in caplog.text and "found a FIFO" in caplog.text
    assert ".mp4: 1" in (tmp_path / "run" / "resolved.yaml").read_text()
