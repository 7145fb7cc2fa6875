"""An evaluation goes on beside files that are none, and under names that are no UTF-8."""

import json
import os
from pathlib import Path

from PIL import Image

from nnclip.cli import main
from nnclip.files import to_path

NOT_READ = {".svg": 1}


def crowd(colour_folder: Path) -> Path:
    """The folder with a class whose name is no UTF-8, and files that are none."""
    odd = Path(os.fsdecode(os.fsencode(colour_folder) + b"/bl\xe4ck"))
    odd.mkdir()
    Image.new("RGB", (9, 9)).save(odd / "x.png")
    os.rename(odd / "x.png", os.fsencode(odd) + b"/\x1b[31m\xff\n.png")
    os.mkfifo(odd / "fifo.png")
    (odd / "zero.png").symlink_to("/dev/zero")
    (odd / "photo.svg").write_text("x")
    return colour_folder


def run(capsys, *words: object) -> str:
    assert main(list(map(str, words))) == 0
    return capsys.readouterr().out


def test_zero_shot(colour_folder, small_h5, capsys) -> None:
    record = json.loads(
        run(capsys, "evaluate", "zero-shot", crowd(colour_folder), "-m", small_h5, "--json")
    )
    assert record["images"] == 17 and record["not_read"] == NOT_READ
    assert {Path(entry["image"]).name for entry in record["skipped"]} == {"fifo.png", "zero.png"}
    assert r"bl\xe4ck" in {row["class"] for row in record["per_class"]}


def test_predict(colour_folder, small_h5, tmp_path, capsys) -> None:
    (tmp_path / "texts.txt").write_text("a red thing\na blue thing\n")
    words = ["evaluate", "predict", crowd(colour_folder), "-m", small_h5, "--texts"]
    lines = run(capsys, *words, tmp_path / "texts.txt", "--json").splitlines()
    told = [json.loads(line) for line in lines]
    images = [line["image"] for line in told if "probabilities" in line]
    assert len(images) == 17 and all(os.path.isfile(to_path(image)) for image in images)
    assert sum("skipped" in line for line in told) == 2 and told[-1] == {"not_read": NOT_READ}
    shown = run(capsys, *words, tmp_path / "texts.txt")
    assert r"bl\xe4ck/\x1b[31m\xff\x0a.png" in shown and "\x1b" not in shown
