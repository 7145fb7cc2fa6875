"""The server in a process of its own, as its clients find it."""

import base64
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # seconds until a server on a busy machine counts as broken
KEY = "a-key-that-nobody-guesses"


@dataclass
class Served:
    """A running server.

    Attributes:
        url: where it is.
        process: what serves it.
        lines: all it has printed.
    """

    url: str
    process: subprocess.Popen
    lines: list[str] = field(default_factory=list)

    def post(self, path: str, content: object, **options: object) -> httpx.Response:
        """The answer to a JSON request."""
        return httpx.post(self.url + path, json=content, timeout=PATIENCE, **options)

    def get(self, path: str, **options: object) -> httpx.Response:
        return httpx.get(self.url + path, timeout=PATIENCE, **options)

    def ends(self) -> int:
        """Send SIGTERM, unless it ended; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        self.process.stdout.close()
        return status


def started(*flags: str, wait: str = "nnclip: ready", **environment: str) -> Served:
    """Start `nnclip serve`; waits until it has printed a line that begins so, or ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nnclip", "serve", "--port", "0", *flags],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    found, said = Served("", process), threading.Event()

    def read() -> None:
        with process.stdout:
            for line in process.stdout:
                found.lines.append(line.rstrip())
                if line.startswith(wait):
                    said.set()
        said.set()

    threading.Thread(target=read, daemon=True).start()
    said.wait(PATIENCE)
    told = re.search(r"^nnclip: listening on (\S+)", "\n".join(found.lines), re.MULTILINE)
    found.url = told[1] if told else ""
    return found


@pytest.fixture
def start() -> Iterator[Callable[..., Served]]:
    """`started`, for a server of one's own, which ends with the test."""
    running = []

    def begin(*flags: str, **options: str) -> Served:
        running.append(started(*flags, **options))
        return running[-1]

    yield begin
    for server in running:
        server.ends()


@pytest.fixture(scope="session")
def served(small_h5: Path, other_h5: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A server with two models of random weights."""
    cache = str(tmp_path_factory.mktemp("no-models"))
    models = ("-m", str(small_h5), "-m", f"ViT-B-32__openai={other_h5}")
    server = started(*models, "--precision", "fp32", NNCLIP_CACHE=cache)
    assert server.url, server.lines
    yield server
    assert server.ends() == 0, server.lines
    assert "Traceback" not in "\n".join(server.lines)


def photo(seed: int, size: tuple[int, int] = (60, 40), kind: str = "JPEG") -> bytes:
    """The bytes of an image file of drawn noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def coded(content: bytes, prefix: str = "data:image/jpeg;base64,") -> str:
    """A file as it stands in JSON."""
    return prefix + base64.b64encode(content).decode()


def until(found: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="session")
def expected(small_h5: Path) -> Callable:
    """Embeddings of unit length of the small model: of texts, or of image files."""
    from nnclip.clip import CLIP
    from nnclip.embeddings import unit
    from nnclip.image import open_image

    model = CLIP(small_h5, precision="fp32")

    def embed(*inputs: str | bytes) -> np.ndarray:
        if isinstance(inputs[0], str):
            return unit(model.encode_text(model.tokenize(list(inputs))))
        images = [model.preprocess(open_image(content)) for content in inputs]
        return unit(model.encode_image(np.stack(images)))

    embed.model = model
    return embed
