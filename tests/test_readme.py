"""The examples of the README and of the page on Python run; their commands know their flags."""

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
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/python.md")
}
BLOCKS = [
    (name, language, block)
    for name, page in PAGES.items()
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
]
COMMANDS = [
    line.split("#")[0].removeprefix("$ ").strip()
    for _, language, block in BLOCKS
    for line in block.splitlines()
    if not language and line.removeprefix("$ ").startswith(("python ", "mpirun ", "nnclip "))
]


@pytest.fixture
def folder(tmp_path: Path, small_h5: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds what the examples name; ViT-B-32.h5 is a small stand-in."""
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    (tmp_path / "ViT-B-32.h5").symlink_to(small_h5)
    Image.new("RGB", (64, 48), "red").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clip, "_current", None)
    return tmp_path


def test_the_examples_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (block for _, language, block in BLOCKS if language == "python")
    exec(first, {})
    assert capsys.readouterr().out.splitlines()[1] == "(3, 192)"
    images = np.zeros((2, 3, 32, 32), np.float32)
    exec(second, {"clip": clip, "images": images, "texts": ["one", "two"]})
    assert clip.current().config.embed == 32


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 130


@pytest.mark.parametrize(
    "page",
    sorted(
        path.relative_to(ROOT).as_posix()
        for folder in (ROOT, ROOT / "docs", ROOT / "docs" / "decisions")
        for path in folder.glob("*.md")
    ),
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_know_their_flags(command: str) -> None:
    command = re.sub(r"^nnclip ", "python -m nnclip ", command)
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
