"""What nnclip says where an extra is missing: the command that installs it from the same place."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from nnclip import extras
from nnclip.extras import how

ROOT = Path(__file__).parents[1]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """nnclip as an installer put it, which notes where it found it."""
    (tmp_path / "nnclip" / "_assets").mkdir(parents=True)
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "nnclip" / "extras.py"))

    def note(content: str | None) -> None:
        found = SimpleNamespace(read_text=lambda name: content)
        monkeypatch.setattr(extras.metadata, "distribution", lambda name: found)

    return note


def test_this_checkout_installs_itself():
    assert how("search") == f"pip install '{ROOT}[search]'"
    assert how() == f"pip install '{ROOT}'"


def test_a_folder_that_is_still_there_is_named(installed, tmp_path):
    folder = tmp_path / "a checkout"
    folder.mkdir()
    note = json.dumps({"url": folder.as_uri(), "dir_info": {}})
    installed(note)
    assert how("search") == "pip install 'nnclip[search]'"
    (folder / "pyproject.toml").touch()
    assert how("search") == f"pip install '{folder}[search]'"
    assert how() == f"pip install '{folder}'"


def test_so_is_a_repository(installed):
    installed(json.dumps({"url": "https://git.example/nnclip", "vcs_info": {"vcs": "git"}}))
    assert how("page") == "pip install 'nnclip[page] @ git+https://git.example/nnclip'"
    assert how() == "pip install 'nnclip @ git+https://git.example/nnclip'"


@pytest.mark.parametrize("note", [None, "", "{", "[]", '{"url": "file:///a.whl"}'])
def test_anything_else_is_the_name(installed, note: str | None):
    installed(note)
    assert how("search") == "pip install 'nnclip[search]'" and how() == "pip install 'nnclip'"


def test_every_extra_exists():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert all(f"\n{name} = [" in project for name in set(extras.EXTRAS.values()))
