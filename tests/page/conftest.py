"""The page in a process of its own, as a visitor finds it."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
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
        uploads: where it keeps what visitors send.
        lines: all it has printed.
    """

    url: str
    process: subprocess.Popen
    uploads: Path
    lines: list[str] = field(default_factory=list)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# runs demo/app.py after telling of every address outside this machine that it looks up or asks
WATCHED = """
import runpy, sys

HERE = (None, "", "127.0.0.1", "localhost", "::1", b"127.0.0.1", b"localhost", b"::1")

def watch(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in HERE:
        print("reaches out to", args[1], flush=True)
    elif event == "socket.getaddrinfo" and args[0] not in HERE:
        print("looks up", args[0], flush=True)

sys.addaudithook(watch)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def started(
    *flags: str, before: str = "", **environment: str
) -> tuple[subprocess.Popen, list[str]]:
    """Start demo/app.py, watched; waits until it says where it is, or ends.

    Args:
        flags: its flags.
        before: Python that is run in its process first.
        environment: variables besides those of this process.
    """
    program = [sys.executable, "-c", before + WATCHED, ROOT / "demo" / "app.py"]
    process = subprocess.Popen(
        [*program, "--port", str(free_port()), *flags],
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


@pytest.fixture
def start() -> Callable[..., tuple[subprocess.Popen, list[str]]]:
    """`started`, for a page of one's own."""
    return started


@pytest.fixture
def watched() -> str:
    """WATCHED, for another script."""
    return WATCHED


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images to search in."""
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
def served(
    speaking_h5: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The page with a model of random weights."""
    flags = ("--model", str(speaking_h5), "--images", str(folder))
    uploads = tmp_path_factory.mktemp("uploads")
    process, lines = started(*flags, "--allow-urls", GRADIO_TEMP_DIR=str(uploads))
    try:
        found = re.search(r"^nnclip: open (\S+)", "\n".join(lines), re.MULTILINE)
        assert found, "\n".join(lines)
        yield Served(found[1], process, uploads, lines)
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
    assert not [line for line in lines if line.startswith(("reaches out", "looks up"))]
