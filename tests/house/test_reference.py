"""docs/reference is what `scripts/write_reference.py` writes today, and says shapes."""

import re

import pytest

from scripts.write_reference import FOLDER, pages

ENTRY = re.compile(
    r"^#{3,4} ([^\n]*)\n\n```python\n(.*?)```\n\n(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL
)
SHAPE = re.compile(  # or where to find it
    r"\((?:[A-Z0-9]+|\.\.\.)(?:,|\))|\bshapes?\b|\b[Ss]ee `|\b[Aa]s (?:in |for )?`|those of"
)


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return pages()


@pytest.mark.parametrize("page", ["commands.md", "python.md"])
def test_the_page_is_current(page: str, written: dict[str, str]) -> None:
    kept = (FOLDER / page).read_text(encoding="utf-8")
    assert kept == written[page], "run .venv/bin/python -m scripts.write_reference"


def test_every_array_of_the_reference_has_a_shape(written: dict[str, str]) -> None:
    entries = ENTRY.findall(written["python.md"])
    assert len(entries) > 120
    told = {name: bool(SHAPE.search(text)) for name, code, text in entries if "np.ndarray" in code}
    assert len(told) > 40
    assert not [name for name, has in told.items() if not has]


def test_everything_of_the_reference_is_described(written: dict[str, str]) -> None:
    assert not [
        name for name, _, text in ENTRY.findall(written["python.md"]) if len(text.split()) < 3
    ]
