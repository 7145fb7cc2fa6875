"""Collecting tests stays quick: what takes seconds to import waits for the tests that use it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SLOW = ("torch", "torchvision", "transformers", "open_clip", "sklearn", "pandas", "onnxruntime")
# what imports torch itself
SLOW_TOO = ("clip_benchmark", "webdataset", "safetensors.torch", "nnclip.convert.reference")
COLLECT = """
import sys
import pytest
status = pytest.main(["--collect-only", *sys.argv[2:]])
print("IMPORTED", *(name for name in sys.argv[1].split(",") if name in sys.modules))
sys.exit(int(status))
"""


def imported_at_the_top(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_no_test_file_imports_torch_and_its_kind_at_the_top(root: Path) -> None:
    found = {
        f"{path.relative_to(root)}: {name}"
        for path in (root / "tests").rglob("*.py")
        if path.name != "make_goldens.py"  # a script that no test imports
        for name in imported_at_the_top(path)
        if name.split(".")[0] in SLOW or name.startswith(SLOW_TOO)
    }
    assert not found, "use tests/lazy.py, or import inside the test"


@pytest.fixture(scope="module")
def collected(root: Path) -> str:
    """What is collected for `make test-fast`, and what collecting has imported."""
    names = "addopts=-q --import-mode=importlib"  # lists tests by name
    options = ["-o", names, "-m", "not torch and not heavy and not long", "-p", "no:cacheprovider"]
    command = [sys.executable, "-W", "ignore", "-c", COLLECT, ",".join(SLOW), *options]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_collecting_imports_nothing_slow(collected: str) -> None:
    assert collected.splitlines()[-1].split() == ["IMPORTED"]


def test_the_test_that_lets_python_bring_pip_along_is_not_in_the_fast_run(collected: str) -> None:
    assert "test_collection.py::test_collecting_imports_nothing_slow" in collected
    assert "test_without_uv_pip_installs" not in collected  # it takes a minute
