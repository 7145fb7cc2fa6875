"""What an installation takes: packages, megabytes, seconds to import and to the first answer.

    python benchmarks/install.py --python python3.13          # prints a table and one JSON line

uv resolves each product for Linux x86-64; the lock file tells the size of every wheel. Products
that are small enough are installed into an environment that is deleted afterwards, the others with
--install-all (torch with CUDA's libraries takes several GB). Nothing but packages is fetched: the
first answer is that of a bundled model, which only nnclip has.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LARGEST = 500e6  # bytes of wheels that are installed without being asked
ANSWER = "import nnclip; nnclip.load().run({image!r}, ['a dog', 'a cat'])"
PROJECT = """[project]
name = "measured"
version = "0"
requires-python = "=={version}.*"
dependencies = [{requirement}]
[tool.uv]
environments = ["sys_platform == 'linux' and platform_machine == 'x86_64'"]
{sources}
"""
# name -> what is required, what is imported
PRODUCTS = {
    "nnclip": ("nnclip", "nnclip"),
    "fastembed": ("fastembed", "fastembed"),
    "transformers": ("transformers torch torchvision pillow", "transformers"),
    "open_clip": ("open_clip_torch", "open_clip"),
}


@dataclass
class Row:
    """What one product takes; None is what was not measured.

    Attributes:
        product: its name.
        packages: with all that it requires.
        wheels_mb: to be fetched.
        installed_mb: on disk.
        import_s: of a fresh process, the best of three.
        answer_s: of a fresh process from its start to the first answer, the best of three.
    """

    product: str
    packages: int
    wheels_mb: float
    installed_mb: float | None = None
    import_s: float | None = None
    answer_s: float | None = None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default="python3.13", help="the interpreter (%(default)s)")
    parser.add_argument("--install-all", action="store_true", help="install the large ones, too")
    args = parser.parse_args()
    rows = [measured(product, args.python, args.install_all) for product in PRODUCTS]
    print(f"{'':<14}{'packages':>9}{'wheels MB':>11}", end="")
    print(f"{'installed MB':>14}{'import s':>10}{'answer s':>10}")
    for row in rows:
        cells = (row.installed_mb, row.import_s, row.answer_s)
        shown = [" " * 4 + "-" if c is None else f"{c:,.2f}" for c in cells]
        print(
            f"{row.product:<14}{row.packages:>9}{row.wheels_mb:>11,.0f}"
            f"{shown[0]:>14}{shown[1]:>10}{shown[2]:>10}"
        )
    print(json.dumps({"benchmark": "install", "rows": [asdict(row) for row in rows]}))


def measured(product: str, python: str, install_all: bool) -> Row:
    """One product, in a folder that is deleted afterwards."""
    requirement, module = PRODUCTS[product]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        row = Row(product, *locked(folder, requirement, python))
        if row.wheels_mb * 1e6 > LARGEST and not install_all:
            return row
        run(uv(), "sync", "--quiet", "--no-install-project", "-p", python, cwd=folder)
        packages = next((folder / ".venv" / "lib").glob("python3*"))
        row.installed_mb = sum(f.stat().st_size for f in packages.rglob("*") if f.is_file()) / 1e6
        program = str(folder / ".venv" / "bin" / "python")
        row.import_s = best(program, f"import {module}", folder)
        if product == "nnclip":
            image = str(ROOT / "assets" / "example.jpg")
            row.answer_s = best(program, ANSWER.format(image=image), folder)
    return row


def locked(folder: Path, requirement: str, python: str) -> tuple[int, float]:
    """Packages and megabytes of wheels of what uv resolves; leaves the project in the folder."""
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    version = run(python, "-c", asked, cwd=folder).strip()
    source = f"[tool.uv.sources]\nnnclip = {{ path = {json.dumps(str(ROOT))} }}"
    project = PROJECT.format(
        version=version,
        requirement=", ".join(json.dumps(name) for name in requirement.split()),
        sources=source if requirement == "nnclip" else "",
    )
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")
    run(uv(), "lock", "--quiet", "--python", python, cwd=folder)
    packages = (folder / "uv.lock").read_text(encoding="utf-8").split("[[package]]")[1:]
    packages = [p for p in packages if 'name = "measured"' not in p]
    tag = "cp" + version.replace(".", "")
    return len(packages), sum(wheel_size(p, tag, python) for p in packages) / 1e6


def wheel_size(package: str, tag: str, python: str) -> int:
    """Bytes of the wheel that this interpreter gets; of a path, of the wheel that is built."""
    if "registry" not in package:
        return built_size(python)
    wheels = dict(re.findall(r'/([^/"]+\.whl)".*?size = (\d+)', package))
    fits = [name for name in wheels if f"-{tag}-" in name or "-abi3-" in name or "-py3-" in name]
    names = fits or list(wheels)
    return int(wheels[names[0]]) if names else 0


def built_size(python: str) -> int:
    """Bytes of nnclip's own wheel."""
    with tempfile.TemporaryDirectory() as place:
        flags = ("--quiet", "--wheel", "-p", python, "--out-dir", place)
        run(uv(), "build", *flags, str(ROOT), cwd=Path(place))
        return next(Path(place).glob("*.whl")).stat().st_size


def best(program: str, code: str, folder: Path) -> float:
    """Seconds of a fresh process, the best of three."""
    timed = (
        "import subprocess, sys, time; began = time.perf_counter();"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL,"
        " stderr=subprocess.DEVNULL); print(time.perf_counter() - began)"
    )
    return min(float(run(program, "-c", timed, program, "-c", code, cwd=folder)) for _ in range(3))


def uv() -> str:
    """The installer that `make` uses."""
    return shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")


def run(*command: str, cwd: Path) -> str:
    """What a program prints."""
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
