"""Known answers: checked where the files are at hand, and plainly not where they are not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnclip import clip
from nnclip.cli import main
from nnclip.commands import verify


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with an image under the name of one that is published."""
    values = np.random.default_rng(3).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "000000039769.jpg")
    return tmp_path


def ask(model: Path, data: Path) -> int:
    return main(["verify", "-m", str(model), "--data", str(data)])


def test_other_weights_give_other_answers(
    small_h5: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(small_h5, pictures) == 1
    out = capsys.readouterr().out
    assert "WRONG        COCO" in out and out.count("not checked") == 2


def test_the_right_weights_pass(
    small_h5: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = clip.CLIP(small_h5, precision="fp32")
    published = verify.ANSWERS[1]
    image = model.preprocess_image(pictures / "000000039769.jpg")
    logits = model.logits(image, model.tokenize(published.texts))[0][0]
    right = dataclasses.replace(published, expected=dict(enumerate(map(float, logits))))
    monkeypatch.setattr(verify, "ANSWERS", (right, verify.ANSWERS[0]))
    assert ask(small_h5, pictures) == 0
    assert "ok           COCO" in capsys.readouterr().out


def test_nothing_at_hand_is_said_and_is_no_success(
    small_h5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(small_h5, tmp_path) == 1
    assert "nothing was checked" in capsys.readouterr().out


def test_another_picture_under_the_name_is_refused(
    small_h5: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "000000039769.jpg").rename(pictures / "CLIP.png")
    assert ask(small_h5, pictures) == 2
    assert "sha256" in capsys.readouterr().err


def test_cifar_is_found(small_h5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    rows = np.zeros((3638, 2 + 3072), np.uint8)
    rows.tofile(folder / "test.bin")
    names = "\n".join(verify._CIFAR100) + "\n"
    (folder / "fine_label_names.txt").write_text(names)
    assert ask(small_h5, tmp_path) == 1
    assert "WRONG        CIFAR-100" in capsys.readouterr().out
