"""The README's examples run, and its commands know their flags."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnclip import clip

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
EXAMPLES = [block for language, block in BLOCKS if language == "python"]
COMMANDS = [
    line.split("#")[0].strip()
    for language, block in BLOCKS
    for line in block.splitlines()
    if not language and line.startswith(("python ", "mpirun "))
]


@pytest.fixture
def folder(tmp_path: Path, small_h5: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds what the examples name; ViT-B-32.h5 is a small stand-in."""
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    (tmp_path / "ViT-B-32.h5").symlink_to(small_h5)
    Image.new("RGB", (64, 48), "red").save(tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clip, "_current", None)
    return tmp_path


def test_the_examples_run(folder: Path) -> None:
    assert len(EXAMPLES) == 2
    first: dict[str, object] = {}
    exec(EXAMPLES[0], first)
    assert np.asarray(first["per_image"]).shape == (1, 2)
    images = np.zeros((2, 3, 32, 32), np.float32)
    second = {"clip": clip, "images": images, "texts": ["one", "two"]}
    exec(EXAMPLES[1], second)
    assert clip.current().config.embed == 32


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_know_their_flags(command: str) -> None:
    words = shlex.split(command)
    words = words[words.index("python") + 1 :]
    script = words[: 4 if "evaluate" in words else 3] if words[0] == "-m" else words[:1]
    flags = [word for word in words[len(script) :] if word.startswith("-")]
    done = subprocess.run(
        [sys.executable, *script, "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0
    for flag in flags:
        assert re.search(rf"(^|[\s,\[]){re.escape(flag)}\b", done.stdout), flag
