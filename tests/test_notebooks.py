"""The notebooks run, and print what they hold."""

import re
from collections import OrderedDict
from pathlib import Path

import nnabla as nn
import pytest

from nnclip import clip
from scripts.run_notebooks import FOLDER, code_cells, kept, printed, read

NUMBER = re.compile(r"\d+\.\d*")


@pytest.mark.parametrize("name", ["first_steps", "nnabla"])
def test_a_notebook_prints_what_it_holds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "_current", None)
    notebook = read(FOLDER / f"{name}.ipynb")
    with nn.parameter_scope("", scope=OrderedDict()):
        found = printed(notebook)
    held = [kept(cell) for cell in code_cells(notebook)]
    assert len(held) >= 5 and all(held)
    for now, then in zip(found, held, strict=True):
        assert NUMBER.sub("#", now).split() == NUMBER.sub("#", then).split()
        numbers = [[float(it) for it in NUMBER.findall(text)] for text in (now, then)]
        assert numbers[0] == pytest.approx(numbers[1], abs=0.03)  # of another processor
    assert "False" not in "".join(held)


def test_every_notebook_is_run() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == ["first_steps", "nnabla"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_links_lead_somewhere(path: Path) -> None:
    text = "".join(line for cell in read(path)["cells"] for line in cell["source"])
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert len(links) >= 2
    assert not [link for link in links if not (FOLDER / link).exists()]
