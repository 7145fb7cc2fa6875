"""The page in a process of its own, as a visitor finds it."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PATIENCE = 300  # seconds until a page on a busy machine counts as broken


@dataclass
class Served:
    """A running page.

    Args:
        url: where it is.
        process: what serves it.
        lines: all it has printed.
    """

    url: str
    process: subprocess.Popen
    lines: list[str] = field(default_factory=list)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(*flags: str, **environment: str) -> tuple[subprocess.Popen, list[str]]:
    """Start demo/app.py; waits until it says where it is, or ends."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "demo" / "app.py", "--port", str(free_port()), *flags],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines, said = [], threading.Event()

    def read() -> None:
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith("nnclip: open"):
                said.set()
        said.set()

    threading.Thread(target=read, daemon=True).start()
    said.wait(PATIENCE)
    return process, lines


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures to search in."""
    path = tmp_path_factory.mktemp("holiday")
    for colour in ("red", "green", "blue", "white"):
        Image.new("RGB", (60, 40), colour).save(path / f"{colour}.png")
    return path


@pytest.fixture(scope="session")
def speaking_h5(small_h5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model, which says that it knows two languages."""
    path = tmp_path_factory.mktemp("speaking") / small_h5.name
    path.write_bytes(small_h5.read_bytes())
    with h5py.File(path, "a") as file:
        file.attrs["nnclip.languages"] = "en de"
    return path


@pytest.fixture(scope="session")
def served(speaking_h5: Path, folder: Path) -> Iterator[Served]:
    """The page with a model of random weights."""
    process, lines = start("--model", str(speaking_h5), "--images", str(folder))
    try:
        found = re.search(r"^nnclip: open (\S+)", "\n".join(lines), re.MULTILINE)
        assert found, "\n".join(lines)
        yield Served(found[1], process, lines)
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
