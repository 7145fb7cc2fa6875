"""What is shown of data before step 1: sampled pairs, and a batch as the model sees it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnclip.errors import DataError
from nnclip.image import Preprocess
from nnclip.training.communicator import Alone
from nnclip.training.config import TrainConfig
from nnclip.training.data.readers import read_pairs, show_pairs
from nnclip.training.preview import LEAST_SIDE, MARGIN, contact_sheet, pixels, write_preview
from nnclip.training.trainer import Trainer


@pytest.mark.parametrize(
    "preprocess",
    [Preprocess(32), Preprocess(32, rescale=1.0, mean=(100, 110, 120), std=(50, 60, 70))],
    ids=["of CLIP", "without rescaling"],
)
def test_pixels_are_those_that_were_normalised(preprocess: Preprocess) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    x_3RR = preprocess(Image.fromarray(noise))
    np.testing.assert_array_equal(pixels(x_3RR[None], preprocess)[0], noise)


def test_a_sheet_holds_every_image_pixel_by_pixel_over_its_caption() -> None:
    images = np.random.default_rng(0).integers(0, 256, (11, 40, 40, 3), np.uint8)
    captions = ["", "a" * 400, "two\nlines", *["a dog"] * 8]
    sheet = np.asarray(contact_sheet(images, captions))
    rows, whole = (sheet.shape[0] - MARGIN) // 2, LEAST_SIDE // 40
    for number, image in enumerate(images):
        left = MARGIN + number % 8 * (LEAST_SIDE + MARGIN)
        top = MARGIN + number // 8 * rows
        cell = sheet[top : top + LEAST_SIDE, left : left + LEAST_SIDE]
        np.testing.assert_array_equal(cell[::whole, ::whole], image)
        below = sheet[top + LEAST_SIDE : top + rows - MARGIN, left : left + LEAST_SIDE]
        assert (below < 128).any()  # an empty caption says so


def test_letters_that_no_font_has_are_told(caplog: pytest.LogCaptureFixture) -> None:
    contact_sheet(np.zeros((1, 8, 8, 3), np.uint8), ["\U0001f9ff\u1681"])
    assert "drawn as boxes" in caplog.text


def test_a_preview_is_the_first_batch_and_changes_nothing(
    small_h5: Path, pairs_csv: Path, tmp_path: Path
) -> None:
    config = TrainConfig(
        train=str(pairs_csv), finetuning=True, model_load_path=str(small_h5), batch_size=8,
        max_iter=1, warmup_iter=0, workers=0, log_interval=1, monitor_path=str(tmp_path / "a"),
    )  # fmt: skip
    sheet = tmp_path / "deep" / "sheet.png"
    losses = []
    for changes in ({}, {"preview": str(sheet), "monitor_path": str(tmp_path / "b")}):
        trainer = Trainer(dataclasses.replace(config, **changes), Alone(), "cpu")
        with trainer.feed.training(Alone(), 0, 1) as batches:
            first = next(batches).batch.images.copy()
        trainer.run()
        losses.append((Path(trainer.config.monitor_path) / "log.jsonl").read_text().split(",")[1:3])
    preprocess = trainer.trainee.weights.config.image.preprocess
    side = preprocess.resolution
    whole = -(-LEAST_SIDE // side)
    found = np.asarray(Image.open(sheet))[MARGIN:, MARGIN:][: side * whole : whole]
    np.testing.assert_array_equal(found[:, : side * whole : whole], pixels(first, preprocess)[0])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", ["sheet.pairs", "taken"])
def test_a_preview_that_cannot_be_written_is_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(DataError, match=f"{name}: cannot be written"):
        write_preview(tmp_path / name, np.zeros((1, 3, 8, 8)), ["a"], Preprocess(8))


def test_three_pairs_are_shown_with_size_and_path(
    pairs_csv: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    show_pairs(str(pairs_csv), read_pairs(str(pairs_csv)))
    shown = [record.message for record in caplog.records if ": pair " in record.message]
    images = pairs_csv.parent / "images"
    assert shown[0] == (
        f"{pairs_csv}: pair 1: 'image number 0 of a few', 40 x 32, {images / '0.png'}"
    )
    assert len(shown) == 3 and "pair 40: " in shown[2]
