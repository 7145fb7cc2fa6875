"""Run the notebooks of docs/notebooks and keep what they print.

    .venv/bin/python -m scripts.run_notebooks

Code cells are plain Python that prints, so that neither this nor the test needs Jupyter.
"""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"


def read(path: Path) -> dict[str, Any]:
    """A notebook."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Its cells of code, in order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kept(cell: dict[str, Any]) -> str:
    """What a cell printed when it was last run."""
    return "".join("".join(output["text"]) for output in cell["outputs"])


def printed(notebook: dict[str, Any]) -> list[str]:
    """Run all cells of code in one namespace; what each prints."""
    names: dict[str, Any] = {"__name__": "__main__"}
    found = []
    for cell in code_cells(notebook):
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            exec("".join(cell["source"]), names)
        found.append(told.getvalue())
    return found


def write(path: Path) -> None:
    """Run a notebook and write its outputs into it."""
    notebook = read(path)
    for number, (cell, text) in enumerate(
        zip(code_cells(notebook), printed(notebook), strict=True), start=1
    ):
        lines = text.splitlines(keepends=True)
        stream = {"name": "stdout", "output_type": "stream", "text": lines}
        cell["outputs"], cell["execution_count"] = [stream] if text else [], number
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.ipynb")):
        write(path)
        print(path)
