"""`nnclip`: finding commands, errors as sentences, and classify."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnclip.cli import command_names, main


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 50, 3), np.uint8)).save(path)
    return str(path)


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"classify", "download", "draw-pairs", "train-tokenizer"} <= set(command_names())
    for name in command_names():
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert f"nnclip {name}" in capsys.readouterr().out


def test_classify_prints_a_table(
    small_h5: Path, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", picture, "-m", str(small_h5), "-t", "a dog", "-t", "a cat"]) == 0
    name, first, second = capsys.readouterr().out.splitlines()
    assert name == picture
    shares = [float(line.split("%")[0]) for line in (first, second)]
    assert shares[0] >= shares[1] and abs(sum(shares) - 100) < 0.02


def test_classify_prints_json_and_reads_files(
    small_h5: Path, picture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("犬\n\n a cat \n", encoding="utf-8")
    main(["classify", picture, "--texts", str(texts), "-m", str(small_h5), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert set(found["probabilities"]) == {"犬", "a cat"} and found["image"] == picture


def test_the_template_is_put_around_each_text(
    small_h5: Path, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["-m", str(small_h5), "--json"]
    main(["classify", picture, "-t", "a dog!", "-t", "a cat!", *flags])
    whole = json.loads(capsys.readouterr().out)["probabilities"]
    main(["classify", picture, "-t", "dog", "-t", "cat", "--template", "a {}!", *flags])
    put = json.loads(capsys.readouterr().out)["probabilities"]
    assert list(whole.values()) == list(put.values())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["no-such.png", "-t", "a"], "no-such.png"),
        ([__file__, "-t", "a"], "not an image"),
        (["PICTURE"], "-t TEXT"),
        (["PICTURE", "--texts", "no-such.txt"], "no-such.txt"),
        (["PICTURE", "-t", "a", "--template", "none"], "--template"),
        (["PICTURE", "-t", "a", "-c", "abacus"], "abacus"),
        (["PICTURE", "-t", "a", "-m", "no-such.h5"], "no-such.h5"),
    ],
)
def test_errors_are_one_sentence(
    small_h5: Path,
    picture: str,
    flags: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [picture if flag == "PICTURE" else flag for flag in flags]
    assert main(["classify", "-m", str(small_h5), *given]) == 2
    err = capsys.readouterr().err.splitlines()
    assert words in err[-1] and err[-1].startswith("nnclip classify: ")


def test_the_command_line_is_quiet(small_h5: Path, picture: str) -> None:
    """NNabla greets on stderr when it is imported; a command prints its result and no more."""
    command = [sys.executable, "-m", "nnclip", "classify", picture, "-m", str(small_h5)]
    done = subprocess.run([*command, "-t", "a dog"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    closed = subprocess.run(f"{' '.join(command)} -t x | true", shell=True, capture_output=True)
    assert closed.stderr == b""
