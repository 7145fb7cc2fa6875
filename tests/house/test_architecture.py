"""docs/architecture.md names files that are there, and the floors of pyproject.toml."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATHS = sorted(set(re.findall(r"`([\w/]+(?:\.py|/))`", PAGE)) - {"nnclip/"})


def floors_of(page: str) -> list[set[str]]:
    """The names in the first column of the last table."""
    table = page.partition("## What may import what")[2]
    rows = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    return [set(re.findall(r"`(\w+)`", row)) for row in rows]


@pytest.mark.parametrize("path", PATHS)
def test_a_file_that_the_page_names_is_there(path: str) -> None:
    assert (ROOT / "nnclip" / path).exists() or (ROOT / path).exists()


def test_the_floors_of_the_page_are_those_of_the_contract() -> None:
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contract = re.search(r"^layers = \[\n(.*?)^\]", settings, re.MULTILINE | re.DOTALL)
    layers = re.findall(r'"(.*)"', contract[1])
    assert floors_of(PAGE) == [set(re.findall(r"\w+", layer)) for layer in layers]


def test_the_index_lists_every_decision_by_its_title() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\d+)\]\((.*?)\) \| (.*?) \|", index, re.MULTILINE)
    titles = {path.name: path.read_text().splitlines()[0] for path in folder.glob("0*.md")}
    assert {name: f"# {number}. {title}" for number, name, title in listed} == titles


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", index))
    assert linked == {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}


def test_the_page_has_its_journeys() -> None:
    assert len(PATHS) > 80
    for title in (
        "Load and answer", "Compile", "Train a step", "Embed and search", "Convert", "Serve",
    ):  # fmt: skip
        assert f"\n## {title}\n" in PAGE


def test_a_file_that_the_diagram_names_is_there() -> None:
    drawn = re.findall(r">([\w/]+(?:\.py|/))<", (ROOT / "docs/architecture.svg").read_text())
    assert len(drawn) > 8
    for path in drawn:
        assert list((ROOT / "nnclip").rglob(path)) or (ROOT / "nnclip" / path).exists(), path
