import ast
import re
import subprocess
import sys
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath

import grimp

from nnclip.graph.towers import IMAGE_TOWERS, TEXT_TOWERS

# package -> the only folder, besides tests and benchmarks, that may import it
HOMES = {
    "torch": "nnclip/convert/",
    "open_clip": "nnclip/convert/",
    "transformers": "nnclip/convert/",
    "openvino": "nnclip/engine/",
    "faiss": "nnclip/search/",
    "gradio": "nnclip/page/",
    "fastapi": "nnclip/serve/",
    "prometheus_client": "nnclip/serve/",
}
LARGEST_FILE = 20_000_000  # bytes: what a bundled model may take


def imported_by(path):
    """The top-level packages that a Python file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_each_floor_imports_only_floors_below(root):
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_nothing_is_imported_in_a_circle():
    """Imports inside functions and for types count as well; the error shows the circle."""
    graph = grimp.build_graph("nnclip", cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(imports) > 300 and "nnclip.engine.model" in imports["nnclip.engine.compiler"]
    TopologicalSorter(imports).prepare()


def names_in(node):
    return {
        n.attr if isinstance(n, ast.Attribute) else getattr(n, "id", "") for n in ast.walk(node)
    }


def asked_kinds(source):
    """The names of the classes that `isinstance` and comparisons of `type(...)` ask for."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            yield from names_in(node.args[1])
        elif isinstance(node, ast.Compare) and "type" in names_in(node.left):
            yield from (name for other in node.comparators for name in names_in(other))


def test_only_the_graphs_ask_which_tower_they_have(root, project_files):
    assert set(asked_kinds("isinstance(x, VitConfig | graph.BertConfig)")) >= {
        "VitConfig",
        "BertConfig",
    }
    assert "VitConfig" in set(asked_kinds("type(x) is VitConfig"))
    towers = {kind.__name__ for kind in (*IMAGE_TOWERS, *TEXT_TOWERS)}
    asking = {
        f"{file} asks for {name}"
        for file in project_files
        if file.startswith(("nnclip/", "convert/", "demo/")) and file.endswith(".py")
        if not file.startswith("nnclip/graph/")
        for name in asked_kinds((root / file).read_text())
        if name.endswith("Config") or name in towers
    }
    assert not asking


def test_heavy_packages_stay_in_their_homes(root, project_files):
    strays = {
        f"{file} imports {package}"
        for file in project_files
        if file.endswith(".py") and not file.startswith(("tests/", "benchmarks/"))
        for package in imported_by(root / file)
        if package in HOMES and not file.startswith(HOMES[package])
    }
    assert not strays


def tree_of(page):
    """The paths of a tree: the code block whose first line starts with `nnclip/`."""
    block = re.search(r"^```\w*\n(nnclip/.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert block, "found no tree in docs/code.md"
    folders, paths = {}, []
    for line in filter(str.strip, block[1].splitlines()):
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        path = PurePosixPath(folders.get(depth - 1, ""), name)
        folders[depth] = path
        paths.append(str(path))
    return paths


def test_the_tree_of_the_page_on_code_is_the_tree(root, project_files):
    tree = tree_of((root / "docs" / "code.md").read_text())
    assert not [path for path in tree if not list(root.glob(path))]
    shown = {match.relative_to(root).as_posix() for path in tree for match in root.glob(path)}
    entries = defaultdict(set)
    for file in project_files:
        parts = PurePosixPath(file).parts
        entries[""].add(parts[0])
        if parts[0] == "nnclip" and parts[1] != "__init__.py":
            entries["nnclip"].add("/".join(parts[:2]))
    visible = {name for name in entries[""] if not name.startswith(".")}
    assert not (visible | entries["nnclip"]) - shown


def test_tests_mirror_what_they_test(root, project_files):
    folders = {PurePosixPath(file).parts[1] for file in project_files if file.startswith("tests/")}
    tested = {path.stem for base in (root, root / "nnclip") for path in base.iterdir()}
    unknown = {name for name in folders if "." not in name} - tested - {"fuzz", "house", "package"}
    assert not unknown


def test_no_file_is_too_large_for_a_repository(root, project_files):
    large = {file: (root / file).stat().st_size for file in project_files}
    assert not {file: size for file, size in large.items() if size > LARGEST_FILE}


def test_no_file_is_a_drawer_for_anything(project_files):
    drawers = {"utils.py", "util.py", "helpers.py", "misc.py", "common.py"}
    assert not [file for file in project_files if PurePosixPath(file).name in drawers]


def test_make_help_lists_every_target(root):
    makefile = (root / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[1] for line in shown.stdout.splitlines()] == targets
