"""Interpreters on this machine, and a wheel of this checkout."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")


def interpreters() -> dict[str, str]:
    """Version -> the program of that Python, for those that are found here."""
    found = {}
    for version in VERSIONS:
        places = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))
        program = shutil.which(f"python{version}")
        for candidate in (*map(str, places), *([program] if program else [])):
            asked = [candidate, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
            done = subprocess.run(asked, capture_output=True, text=True, cwd="/")
            if done.stdout.strip() == version:
                found[version] = candidate
                break
    return found


@pytest.fixture(scope="session")
def uv() -> str:
    """The installer that `make` uses."""
    program = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    if not Path(program).is_file():
        pytest.skip("there is no uv here")
    return program


@pytest.fixture(scope="session")
def wheel(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [uv, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and "resolv" in done.stderr.lower() and "connect" in done.stderr.lower():
        pytest.skip("no package registry is reached from here")
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture
def clean_environment(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who never had a checkout."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("NNCLIP", "PYTHON", "VIRTUAL"))
    }
    return {**kept, "NNCLIP_CACHE": str(tmp_path / "cache")}


def run(program: Path | str, *words: object, **options: object) -> subprocess.CompletedProcess:
    """Run a program in a folder that is not the checkout."""
    command = [str(program), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, **options)
