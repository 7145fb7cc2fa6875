"""scripts/setup.sh on machines that lack things, offline and with nothing to install."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON = os.path.realpath(sys.executable)  # the 3.10 below the virtual environment
TOOLS = ("cat", "chmod", "dirname", "env", "rm", "sh", "uname")


@pytest.fixture
def machine(tmp_path, root):
    """A checkout without requirements, and a PATH with nothing but a few tools."""
    shutil.copytree(root / "scripts", tmp_path / "repo" / "scripts")
    shutil.copy(root / "requirements-tools.txt", tmp_path / "repo")
    (tmp_path / "repo" / "requirements.txt").write_text("")
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    return tmp_path


def set_up(machine, **variables):
    environment = {
        "PATH": str(machine / "bin"),
        "HOME": str(machine / "home"),
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),  # where PYTHON needs it
        **variables,
    }
    command = ["sh", str(machine / "repo" / "scripts" / "setup.sh"), "requirements.txt"]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def put_python(path: Path, version: str = "") -> None:
    """The real Python 3.10 at `path`, or a script that only answers as another version does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if version:
        path.write_text("#!/bin/sh\nexit 0\n")
        path.chmod(0o755)
    else:
        path.symlink_to(PYTHON)


def put_uv(machine: Path) -> None:
    """What setup.sh asks of uv, done by the venv module: uv itself would need the network."""
    uv = machine / "bin" / "uv"
    uv.write_text('#!/bin/sh\n[ "$1" = pip ] || exec "$4" -m venv --without-pip "$5"\n')
    uv.chmod(0o755)


def version_in(venv: Path) -> str:
    command = [venv / "bin" / "python", "-c", "import sys; print(sys.version_info[:2])"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_no_python_anywhere_is_told_in_a_sentence(machine):
    done = set_up(machine)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("setup: no Python 3.10 found, nor could uv fetch one: install it")
    assert "NNCLIP_PYTHON=" in last


def test_a_named_python_of_another_version_is_refused(machine):
    put_python(machine / "other" / "python3", version="3.11")
    done = set_up(machine, NNCLIP_PYTHON=str(machine / "other" / "python3"))
    assert done.returncode == 1
    assert "python3 is no Python 3.10: name the program of a Python 3.10" in done.stderr


@pytest.mark.parametrize(
    "place",
    ["named/python", "bin/python3.10", "bin/python3", "home/.pyenv/versions/3.10.9/bin/python3.10"],
)
def test_python_is_found(machine, place):
    put_uv(machine)
    if place != "bin/python3":
        put_python(machine / "bin" / "python3", version="3.12")
    put_python(machine / place)
    named = {"NNCLIP_PYTHON": str(machine / place)} if place.startswith("named") else {}
    done = set_up(machine, **named)
    assert done.returncode == 0, done.stderr
    assert version_in(machine / "repo" / ".venv") == "(3, 10)"
    command = machine / "repo" / ".venv" / "bin" / "nnclip"
    assert os.access(command, os.X_OK)
    assert 'if __name__ == "__main__":' in command.read_text()  # spawned processes import it


@pytest.mark.heavy  # Python brings pip along: a minute
def test_without_uv_pip_installs(machine):
    put_python(machine / "bin" / "python3.10")
    done = set_up(machine)
    assert done.returncode == 0, done.stderr
    assert version_in(machine / "repo" / ".venv") == "(3, 10)"
    assert (machine / "repo" / ".venv" / "bin" / "pip").exists()


def test_a_venv_that_works_is_kept_and_a_broken_one_replaced(machine):
    put_uv(machine)
    put_python(machine / "bin" / "python3.10")
    assert set_up(machine).returncode == 0
    mark = machine / "repo" / ".venv" / "mark"
    mark.touch()
    assert set_up(machine).returncode == 0
    assert mark.exists()
    (machine / "repo" / ".venv" / "bin" / "python").unlink()
    assert set_up(machine).returncode == 0
    assert not mark.exists()
