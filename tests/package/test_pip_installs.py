"""Whoever does what a page or a message says keeps a working installation.

Every `pip install` in them is an extra of nnclip, the core, or a pinned requirements file; and no
extra replaces what NNabla was built for, which is tried in a copy of the pinned environment.
"""

import re
import subprocess
import sys

import pytest

from tests.package.conftest import ROOT, run

PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
EXTRAS = re.findall(
    r"^(\w+) = \[", PROJECT.split("[project.optional-dependencies]")[1].split("\n[")[0], re.M
)
# Flags, then a requirements file, a quoted requirement or a bare one.
INSTALL = re.compile(r"pip3? install ((?:--[\w-]+ )*)(?:-r ([\w.-]+)|'([^']+)'|([\w.+:\[\]<>,-]+))")
NAMED = re.compile(r"(?:nnclip|\.)(?:\[([\w,]+)\])?")
MAKER = ROOT / "nnclip" / "extras.py"  # its sentences are read where they are printed
# A client on another machine, which gets an environment of its own.
ELSEWHERE = {"gradio_client"}
KEPT = ("numpy", "protobuf", "nnabla", "h5py", "openvino")
BIG = {"torch", "all", "train", "wandb"}  # resolved, not installed


def texts() -> dict[str, str]:
    """Every page and every module, by its path."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    code = [path for path in sorted((ROOT / "nnclip").rglob("*.py")) if path != MAKER]
    return {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in (*pages, *code)}


def told() -> list[tuple[str, str, str]]:
    """Where a `pip install` stands; the requirements file, or else the requirement."""
    return [
        (where, match[2] or "", match[3] or (match[4] or "").rstrip(",:"))
        for where, text in texts().items()
        for match in INSTALL.finditer(text)
    ]


def test_none_is_overlooked() -> None:
    assert sum(text.count("pip install ") for text in texts().values()) == len(told()) > 12
    assert {"onnx", "search", "all"} <= set(EXTRAS)


@pytest.mark.parametrize(("where", "file", "requirement"), told())
def test_every_pip_install_is_an_extra_or_pinned(where: str, file: str, requirement: str) -> None:
    if file:
        assert "--hash=" in (ROOT / file).read_text("utf-8"), where
    elif requirement not in ELSEWHERE and not requirement.startswith("git+"):
        match = NAMED.fullmatch(requirement)
        assert match, f"{where}: found pip install {requirement}, expected an extra of nnclip"
        assert set(filter(None, (match[1] or "").split(","))) <= set(EXTRAS), where


@pytest.fixture(scope="module")
def pinned(uv, tmp_path_factory):
    """A copy of the environment that `make` pins: its Python."""
    folder = tmp_path_factory.mktemp("pinned") / "venv"
    subprocess.run([uv, "venv", "--quiet", "-p", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    command = [uv, "pip", "install", "--quiet", "-p", python, "--require-hashes"]
    done = run(*command, "-r", ROOT / "requirements.txt")
    if done.returncode and "connect" in done.stderr.lower():
        pytest.skip("no package registry is reached from here")
    assert done.returncode == 0, done.stderr
    return python


@pytest.mark.heavy
@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_leaves_the_pinned_environment_as_it_is(extra: str, uv, pinned) -> None:
    source = f"{ROOT}[{extra}]"
    planned = run(uv, "pip", "install", "--dry-run", "-p", pinned, source)
    assert planned.returncode == 0, planned.stderr
    removed = re.findall(r"^ - ([\w-]+)==", planned.stderr, re.MULTILINE)
    assert not set(removed) & set(KEPT), planned.stderr
    if extra in BIG:
        return
    assert run(uv, "pip", "install", "--quiet", "-p", pinned, source).returncode == 0
    code = "import nnabla, nnclip; from nnclip.assets import asset;"
    code += "print(nnclip.load().run(asset('example.jpg'), ['a']))"
    asked = run(pinned, "-W", "ignore", "-c", code)
    assert asked.returncode == 0 and "[1.]" in asked.stdout, asked.stderr
